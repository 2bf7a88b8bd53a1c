// Norms and quantized activations on the card, emulated: the bits of the CPU's.
#include "../engine/cuda/rms_norm.h"

#include <cmath>
#include <limits>

#include "../engine/cpu/rms_norm.h"
#include "card.h"

namespace thermocline {
namespace {

using namespace test;

std::vector<Q8Activation> quantized_by_cpu(const std::vector<float>& x) {
  std::vector<Q8Activation> y(x.size() / kBlock);
  best_kernels().quantize(x.data(), y.data(), x.size());
  return y;
}

void check_blocks(CardMemory<Q8Activation>& actual, const std::vector<Q8Activation>& expected) {
  CHECK_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof expected[i]) != 0) fail(__FILE__, __LINE__, "block ", i, " differs");
  }
}

void check_quantized(const std::vector<float>& values, unsigned rows, bool rectify) {
  CardMemory<float> x(values);
  CardMemory<Q8Activation> y(values.size() / kBlock);
  cuda::quantize(nullptr, x.data(), rows, static_cast<unsigned>(values.size() / rows), rectify, y.data());
  std::vector<float> wanted = values;
  if (rectify) {
    for (float& value : wanted) value = std::max(value, 0.0f);
  }
  check_blocks(y, quantized_by_cpu(wanted));
}

TEST(blocks_are_the_cpus_bits) {
  Random random(1);
  for (const Data data : kData) {
    for (const unsigned cols : {32u, 64u, 96u, 1024u, 1056u}) {
      for (const unsigned rows : {1u, 3u}) {
        for (const bool rectify : {false, true}) check_quantized(random_floats(random, data, rows * cols), rows, rectify);
      }
    }
  }
}

TEST(blocks_at_the_ends_of_the_range_are_the_cpus_bits) {
  const float most = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
  Random random(2);
  for (const float largest : {most, kLeastQuantized, std::nextafter(kLeastQuantized, 0.0f), infinity, NAN}) {
    for (const float sign : {1.0f, -1.0f}) {
      for (size_t at = 0; at < kBlock; ++at) {
        std::vector<float> x(3 * kBlock, largest / -3);
        x[kBlock + at] = sign * largest;
        for (const bool rectify : {false, true}) check_quantized(x, 1, rectify);
        std::vector<float> ordinary = random_floats(random, Data::random, 3 * kBlock);
        ordinary[kBlock + at] = sign * largest;
        for (const bool rectify : {false, true}) check_quantized(ordinary, 1, rectify);
      }
    }
  }
}

TEST(ties_are_rounded_to_even) {
  std::vector<float> x(kBlock);
  for (size_t i = 0; i < kBlock; ++i) x[i] = static_cast<float>(i) - 16.5f;
  x[0] = 127;
  check_quantized(x, 1, false);
}

void check_norm(Random& random, Data data, unsigned rows, unsigned cols, bool quantize) {
  const std::vector<float> values = random_floats(random, data, size_t{rows} * cols);
  const std::vector<float> scales = random_floats(random, Data::random, cols);
  constexpr float kEpsilon = 1e-5f;

  std::vector<float> expected(values.size());
  ThreadPool pool(1, {});
  rms_norm({pool, fusing_kernels()}, values.data(), reinterpret_cast<const std::byte*>(scales.data()), kEpsilon, rows,
           cols, expected.data());

  CardMemory<float> x(values), weight(scales), y(values.size());
  CardMemory<Q8Activation> blocks(quantize ? values.size() / kBlock : 0);
  cuda::rms_norm(nullptr, x.data(), weight.data(), kEpsilon, rows, cols, y.data(), quantize ? blocks.data() : nullptr);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (same_value(y[i], expected[i])) continue;
    fail(__FILE__, __LINE__, rows, " rows of ", cols, ", element ", i, ": ", y[i], " instead of ", expected[i]);
  }
  if (quantize) check_blocks(blocks, quantized_by_cpu(expected));
}

TEST(norms_are_the_cpus_bits) {
  if (!fuses(fusing_kernels())) return;
  Random random(3);
  for (const Data data : kData) {
    for (const unsigned cols : {1u, 15u, 16u, 31u, 33u, 127u, 1000u, 4095u, 4096u, 4097u, 9001u}) {
      check_norm(random, data, 1, cols, false);
    }
    for (const unsigned cols : {32u, 96u, 1024u, 4096u, 5120u}) check_norm(random, data, 1, cols, true);
    for (const unsigned rows : {2u, 3u, 8u, 9u, 33u}) check_norm(random, data, rows, 96, rows % 2 != 0);
  }
}

TEST(a_row_that_holds_no_number_does_not_touch_the_others) {
  CardMemory<float> x(std::vector<float>(3 * kBlock, 1)), weight(std::vector<float>(kBlock, 1)), y(3 * kBlock);
  CardMemory<Q8Activation> blocks(3);
  x[kBlock + 5] = NAN;
  cuda::rms_norm(nullptr, x.data(), weight.data(), 0, 3, kBlock, y.data(), blocks.data());
  for (size_t i = 0; i < 3 * kBlock; ++i) CHECK_EQ(std::isnan(y[i]), i / kBlock == 1);
  for (size_t r = 0; r < 3; ++r) CHECK_EQ(std::isnan(blocks[r].scale), r == 1);
}

}  // namespace
}  // namespace thermocline
