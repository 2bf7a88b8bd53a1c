// Dot products and scaled sums of every instruction set against double precision, on every length and misalignment.
#include "../kernels/kernels.h"

#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "../kernels/half.h"
#include "check.h"
#include "instruction_sets.h"
#include "kernel_data.h"
#include "placed.h"
#include "weight_rows.h"

namespace thermocline {
namespace {

using namespace test;

TEST(rows_have_the_sizes_of_gguf) {
  CHECK_EQ(row_bytes(WeightType::f32, 96), 384u);
  CHECK_EQ(row_bytes(WeightType::f16, 96), 192u);
  CHECK_EQ(row_bytes(WeightType::q8_0, 96), 102u);
  CHECK_EQ(row_bytes(WeightType::q4_0, 96), 54u);
  for (WeightType type : kTypes) CHECK_EQ(row_bytes(type, 0), 0u);
}

TEST(each_set_has_its_own_kernels_and_the_best_come_last) {
  CHECK(kernels_for(InstructionSet::scalar)->instruction_set == InstructionSet::scalar);
  if (const Kernels* avx2 = kernels_for(InstructionSet::avx2)) CHECK(avx2->instruction_set == InstructionSet::avx2);
  CHECK(&best_kernels() == instruction_sets().back());
}

// The sums' precision, to tell dot from wide_dot and add_scaled from accumulate.
template <typename Number>
constexpr bool is_wide = std::is_same_v<Number, double>;

template <typename Number>
bool same_bits(Number a, Number b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <typename Number>
void check_dot(const Kernels& kernels, Number (*const* dots)(const void*, const void*, size_t), WeightType type,
               const std::vector<uint8_t>& row, const std::vector<uint8_t>& x, size_t cols) {
  const auto dot = dots[static_cast<size_t>(type)];
  double expected = 0, magnitude = 0;
  for (size_t i = 0; i < cols; ++i) {
    const double product = weight_at(type, row, i) * activation_at(type, x, i);
    expected += product;
    magnitude += std::abs(product);
  }
  // On a term's way into the sum, whatever the order: the product of its block's scales, its own product, and at most
  // as many additions as there are terms. A product that comes out subnormal is off by half the least subnormal at
  // most; if it is that of the scales, the quants multiply it.
  const auto terms = static_cast<double>(cols);
  const double quants = wants_quantized_activation(type) ? largest_quant(type) * 127 : 1;
  const double roundings = is_wide<Number> ? f32_error(2) + f64_error(terms) : f32_error(terms + 2);
  const double bound =
      (roundings + f64_error(terms)) * magnitude + (magnitude > 0 ? terms * quants * kLeastSubnormal : 0);

  const Number actual = dot(row.data(), x.data(), cols);
  if (!(std::abs(actual - expected) <= bound)) {
    std::cerr << name_of(kernels.instruction_set) << (is_wide<Number> ? " wide_dot of " : " dot of ") << cols << ' '
              << name_of(type) << " is " << actual << ", expected " << expected << " within " << bound << std::endl;
    CHECK(false);
  }
}

void check_dots(const Kernels& kernels, WeightType type, const std::vector<uint8_t>& row, const std::vector<uint8_t>& x,
                size_t cols) {
  check_dot(kernels, kernels.dot, type, row, x, cols);
  check_dot(kernels, kernels.wide_dot, type, row, x, cols);
}

TEST(dots_are_right_on_every_length) {
  Random random(1);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      for (size_t cols : lengths(type)) {
        for (Data data : kData) {
          check_dots(*kernels, type, random_row(random, type, data, cols), random_activation(random, type, data, cols),
                     cols);
          check_dots(*kernels, type, random_row(random, type, data, cols),
                     random_activation(random, type, Data::random, cols), cols);
          check_dots(*kernels, type, random_row(random, type, Data::random, cols),
                     random_activation(random, type, data, cols), cols);
        }
      }
    }
  }
}

template <typename Number>
void check_misaligned_dot(Number (*dot)(const void*, const void*, size_t), const std::vector<uint8_t>& row,
                          const std::vector<uint8_t>& x, size_t cols) {
  const Number expected = dot(row.data(), x.data(), cols);
  for (size_t row_misalignment = 0; row_misalignment < kMisalignments; ++row_misalignment) {
    Placed placed_row(row.data(), row.size(), row_misalignment);
    for (size_t x_misalignment = 0; x_misalignment < kMisalignments; ++x_misalignment) {
      Placed placed_x(x.data(), x.size(), x_misalignment);
      CHECK(same_bits(dot(placed_row.as<void>(), placed_x.as<void>(), cols), expected));
    }
  }
}

TEST(dots_are_the_same_bits_at_every_misalignment) {
  Random random(7);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      for (size_t cols : lengths(type)) {
        const auto row = random_row(random, type, Data::random, cols);
        const auto x = random_activation(random, type, Data::random, cols);
        check_misaligned_dot(kernels->dot[static_cast<size_t>(type)], row, x, cols);
        check_misaligned_dot(kernels->wide_dot[static_cast<size_t>(type)], row, x, cols);
      }
    }
  }
}

// With scales of 1 a dot product is a sum of integers below 2^24, which f32 holds: no error at all is allowed.
TEST(integer_parts_are_exact) {
  Random random(2);
  const uint16_t one = to_f16(1.0f);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : {WeightType::q8_0, WeightType::q4_0}) {
      for (size_t cols : lengths(type)) {
        for (int weight_byte : {-1, 0x80, 0x7f, 0x00, 0xff, 0x0f, 0xf0}) {  // -1: random
          for (int x_quant : {-128, -127, 127, 0}) {                         // -128: random
            std::vector<uint8_t> row = random_row(random, type, Data::random, cols);
            std::vector<uint8_t> x = random_activation(random, type, Data::random, cols);
            const size_t stride = row_bytes(type, kBlock);
            for (size_t i = 0; i < row.size(); ++i) {
              if (i % stride < 2) {
                row[i] = static_cast<uint8_t>(i % stride == 0 ? one & 0xff : one >> 8);
              } else if (weight_byte >= 0) {
                row[i] = static_cast<uint8_t>(weight_byte);
              }
            }
            for (size_t i = 0; i < x.size(); i += sizeof(Q8Activation)) {
              const float scale = 1.0f;
              std::memcpy(x.data() + i, &scale, sizeof scale);
              if (x_quant > -128) std::memset(x.data() + i + sizeof scale, x_quant, kBlock);
            }
            double expected = 0;
            for (size_t i = 0; i < cols; ++i) expected += weight_at(type, row, i) * activation_at(type, x, i);
            const float actual = kernels->dot[static_cast<size_t>(type)](row.data(), x.data(), cols);
            CHECK_EQ(static_cast<double>(actual), expected);
            CHECK_EQ(kernels->wide_dot[static_cast<size_t>(type)](row.data(), x.data(), cols), expected);
          }
        }
      }
    }
  }
}

// What accumulate() adds to, in every instruction set: the bits of this and no others.
float product_at(WeightType type, float scale, const std::vector<uint8_t>& row, size_t i) {
  const StoredWeight stored = stored_at(type, row, i);
  const float block_scale = scale * stored.scale;
  return block_scale * stored.quant;
}

template <typename Number>
void check_sum(const Kernels& kernels, WeightType type, float scale, const std::vector<uint8_t>& row, size_t i,
               Number before, Number after) {
  if constexpr (is_wide<Number>) {
    CHECK(same_bits(after, before + product_at(type, scale, row, i)));
    return;
  }
  const double product = scale * weight_at(type, row, i);
  const double expected = before + product;
  // Roundings: of the block's scale, of the product, of the sum. The first two may come out subnormal.
  const double magnitude = std::abs(static_cast<double>(before)) + std::abs(product);
  const double bound =
      (f32_error(3) + f64_error(1)) * magnitude + (product != 0 ? (largest_quant(type) + 1) * kLeastSubnormal : 0);
  if (!(std::abs(after - expected) <= bound)) {
    std::cerr << name_of(kernels.instruction_set) << " add_scaled of " << name_of(type) << ": element " << i << " is "
              << after << ", expected " << expected << " within " << bound << std::endl;
    CHECK(false);
  }
}

template <typename Number>
void check_scaled_sums(const Kernels& kernels, void (*const* functions)(float, const void*, Number*, size_t),
                       WeightType type, float scale, const std::vector<uint8_t>& row, const std::vector<float>& start) {
  const std::vector<Number> before(start.begin(), start.end());
  std::vector<Number> after = before;
  functions[static_cast<size_t>(type)](scale, row.data(), after.data(), after.size());
  for (size_t i = 0; i < after.size(); ++i) check_sum(kernels, type, scale, row, i, before[i], after[i]);
}

void check_scaled(const Kernels& kernels, WeightType type, float scale, const std::vector<uint8_t>& row,
                  const std::vector<float>& y) {
  check_scaled_sums(kernels, kernels.add_scaled, type, scale, row, y);
  check_scaled_sums(kernels, kernels.accumulate, type, scale, row, y);
}

TEST(scaled_sums_are_right_on_every_length) {
  Random random(3);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      for (size_t cols : lengths(type)) {
        for (Data data : kData) {
          check_scaled(*kernels, type, random_float(random, data), random_row(random, type, data, cols),
                       random_floats(random, data, cols));
          check_scaled(*kernels, type, random_float(random, Data::random), random_row(random, type, data, cols),
                       random_floats(random, Data::random, cols));
          check_scaled(*kernels, type, random_float(random, data), random_row(random, type, Data::random, cols),
                       random_floats(random, data, cols));
        }
      }
    }
  }
}

template <typename Number>
void check_misaligned_sums(void (*add_to)(float, const void*, Number*, size_t), float scale,
                           const std::vector<uint8_t>& row, const std::vector<float>& start) {
  const std::vector<Number> before(start.begin(), start.end());
  std::vector<Number> expected = before;
  add_to(scale, row.data(), expected.data(), expected.size());
  for (size_t row_misalignment = 0; row_misalignment < kMisalignments; ++row_misalignment) {
    Placed placed_row(row.data(), row.size(), row_misalignment);
    for (size_t y_misalignment = 0; y_misalignment < kMisalignments; ++y_misalignment) {
      Placed placed_y(before.data(), before.size() * sizeof(Number), y_misalignment);
      add_to(scale, placed_row.as<void>(), placed_y.template as<Number>(), before.size());
      CHECK(placed_y.holds(expected.data()));
      CHECK(placed_y.guards_intact());
    }
    CHECK(placed_row.holds(row.data()));
  }
}

TEST(scaled_sums_are_the_same_bits_at_every_misalignment) {
  Random random(8);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      for (size_t cols : lengths(type)) {
        const float scale = random_float(random, Data::random);
        const auto row = random_row(random, type, Data::random, cols);
        const auto y = random_floats(random, Data::random, cols);
        check_misaligned_sums(kernels->add_scaled[static_cast<size_t>(type)], scale, row, y);
        check_misaligned_sums(kernels->accumulate[static_cast<size_t>(type)], scale, row, y);
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
