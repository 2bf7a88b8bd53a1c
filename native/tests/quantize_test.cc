// Activations to 8-bit blocks and to f16, by every instruction set, on every length and misalignment.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "../kernels/half.h"
#include "../kernels/kernels.h"
#include "check.h"
#include "instruction_sets.h"
#include "kernel_data.h"
#include "placed.h"

namespace thermocline {
namespace {

using namespace test;

std::vector<Q8Activation> quantize(const Kernels& kernels, const std::vector<float>& x) {
  std::vector<Q8Activation> y(x.size() / kBlock);
  kernels.quantize(x.data(), y.data(), x.size());
  return y;
}

void check_quantized_block(const Q8Activation& block, const float* x) {
  double largest = 0;
  for (size_t j = 0; j < kBlock; ++j) largest = std::max(largest, std::abs(static_cast<double>(x[j])));
  const bool counts = largest >= static_cast<double>(kLeastQuantized);
  CHECK_EQ(block.scale, counts ? static_cast<float>(largest) / 127.0f : 0.0f);
  int most = 0, sums[2] = {0, 0};
  for (size_t j = 0; j < kBlock; ++j) {
    const double exact = counts ? 127 * static_cast<double>(x[j]) / largest : 0;
    // Two roundings, of 127 / max and of x times that, come before the one to an integer.
    CHECK(std::abs(block.quants[j] - exact) <= 0.5 + (f32_error(2) + f64_error(2)) * std::abs(exact));
    most = std::max(most, std::abs(int{block.quants[j]}));
    sums[j / (kBlock / 2)] += block.quants[j];
  }
  for (size_t i = 0; i < 2; ++i) CHECK_EQ(block.sums[i], sums[i]);
  CHECK_EQ(most, counts ? 127 : 0);
}

TEST(quantizing_is_right_and_the_same_bits_everywhere) {
  Random random(4);
  for (size_t cols = 0; cols <= 512; cols += kBlock) {
    for (Data data : kData) {
      const std::vector<float> x = random_floats(random, data, cols);
      const std::vector<Q8Activation> expected = quantize(*kernels_for(InstructionSet::scalar), x);
      for (size_t block = 0; block < expected.size(); ++block) {
        check_quantized_block(expected[block], x.data() + block * kBlock);
      }
      const size_t bytes = expected.size() * sizeof(Q8Activation);
      for (const Kernels* kernels : instruction_sets()) {
        for (size_t i = 0; i < kMisalignments; ++i) {
          Placed from(x.data(), cols * sizeof(float), i);
          for (size_t j = 0; j < kMisalignments; ++j) {
            Placed to(std::vector<uint8_t>(bytes).data(), bytes, j);
            kernels->quantize(from.as<float>(), to.as<Q8Activation>(), cols);
            CHECK(to.holds(expected.data()));
            CHECK(to.guards_intact());
          }
        }
      }
    }
  }
}

TEST(quantizing_rounds_ties_to_even) {
  std::vector<float> x(kBlock, 0.0f);
  x[0] = 127;  // so that the scale is 1
  for (size_t j = 1; j < kBlock; ++j) x[j] = static_cast<float>(j) - 16.5f;
  for (const Kernels* kernels : instruction_sets()) {
    const Q8Activation block = quantize(*kernels, x)[0];
    CHECK_EQ(block.scale, 1.0f);
    for (size_t j = 1; j < kBlock; ++j) {
      const int below = static_cast<int>(j) - 17;
      CHECK_EQ(int{block.quants[j]}, below % 2 == 0 ? below : below + 1);
    }
  }
}

TEST(quantizing_holds_at_the_ends_of_the_range) {
  const float most = std::numeric_limits<float>::max();
  for (const Kernels* kernels : instruction_sets()) {
    for (float largest : {most, kLeastQuantized, std::nextafter(kLeastQuantized, 0.0f)}) {
      for (float sign : {1.0f, -1.0f}) {
        std::vector<float> x(kBlock, largest / -3);
        x[kBlock - 1] = sign * largest;
        check_quantized_block(quantize(*kernels, x)[0], x.data());
      }
    }
  }
}

TEST(what_is_not_finite_stays_visible) {
  const float infinity = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Random random(5);
  for (const Kernels* kernels : instruction_sets()) {
    for (float bad : {infinity, -infinity, nan, -nan}) {
      for (size_t at = 0; at < kBlock; ++at) {
        std::vector<float> x = random_floats(random, Data::random, 2 * kBlock);
        x[at] = bad;
        const std::vector<Q8Activation> y = quantize(*kernels, x);
        CHECK_EQ(std::bit_cast<uint32_t>(y[0].scale), std::bit_cast<uint32_t>(nan));
        for (int8_t quant : y[0].quants) CHECK_EQ(int{quant}, 0);
        for (const int16_t sum : y[0].sums) CHECK_EQ(sum, 0);
        check_quantized_block(y[1], x.data() + kBlock);
      }
    }
  }
}

TEST(the_sum_of_quants_holds_at_its_ends) {
  for (const Kernels* kernels : instruction_sets()) {
    for (const float all : {1.0f, -1.0f}) {
      const Q8Activation block = quantize(*kernels, std::vector<float>(kBlock, all))[0];
      for (const int16_t sum : block.sums) CHECK_EQ(sum, static_cast<int>(all) * 127 * static_cast<int>(kBlock / 2));
    }
  }
}

TEST(rows_become_f16_on_every_length_and_misalignment) {
  Random random(6);
  for (size_t cols = 0; cols <= 130; ++cols) {
    const std::vector<float> x = random_floats(random, Data::random, cols);
    std::vector<uint16_t> expected(cols);
    for (size_t i = 0; i < cols; ++i) expected[i] = to_f16(x[i]);
    const size_t bytes = cols * sizeof(uint16_t);
    for (const Kernels* kernels : instruction_sets()) {
      for (size_t i = 0; i < kMisalignments; ++i) {
        Placed from(x.data(), cols * sizeof(float), i);
        for (size_t j = 0; j < kMisalignments; ++j) {
          Placed to(std::vector<uint8_t>(bytes).data(), bytes, j);
          kernels->to_f16(from.as<float>(), to.as<uint16_t>(), cols);
          CHECK(to.holds(expected.data()));
          CHECK(to.guards_intact());
        }
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
