// Products of many rows of activations with floats on the card, emulated: the bits of the CPU's kernels.
#include "../engine/cuda/float_gemm.h"

#include <algorithm>
#include <limits>

#include "../engine/cuda/dispatch.h"
#include "card_products.h"

namespace thermocline {
namespace {

using namespace test;

constexpr WeightType kFloatTypes[] = {WeightType::f32, WeightType::f16, WeightType::bf16};

// Where this CPU does not fuse, its bits are others.
bool can_compare() { return fuses(fusing_kernels()); }

void check_gemm(WeightType type, const std::vector<Bytes>& weights, const std::vector<Bytes>& xs, size_t cols) {
  check_products(type, weights, xs, cols, [](const cuda::CardMatrix& matrix, const std::byte* x, auto... rest) {
    cuda::for_type(matrix.type, [&]<WeightType Type>() {
      if constexpr (cuda::card_block(Type).elements == 0) {
        cuda::multiply_many_floats<Type>(nullptr, matrix, reinterpret_cast<const float*>(x), rest...);
      }
    });
  });
}

void check_gemm(Random& random, WeightType type, Data data, size_t cols, size_t rows, size_t xs) {
  check_gemm(type, random_rows(random, type, data, cols, rows), random_activations(random, type, data, cols, xs), cols);
}

TEST(products_are_the_cpus_bits_for_every_length) {
  if (!can_compare()) return;
  Random random(1);
  for (const WeightType type : kFloatTypes) {
    for (size_t cols = 1; cols <= 34; ++cols) check_gemm(random, type, Data::random, cols, 3, 9);
    for (const size_t cols : {47u, 48u, 63u, 64u, 65u, 127u, 128u, 129u, 200u, 255u, 256u, 257u, 391u, 1030u}) {
      for (const size_t xs : {9u, 17u}) check_gemm(random, type, Data::random, cols, 3, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_any_number_of_activations) {
  if (!can_compare()) return;
  Random random(2);
  for (const WeightType type : kFloatTypes) {
    for (const size_t xs : {1u, 4u, 5u, 8u, 9u, 12u, 15u, 16u, 17u, 24u, 25u, 32u, 33u, 40u, 63u, 64u, 65u, 130u}) {
      check_gemm(random, type, Data::random, 77, 9, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_any_number_of_weights) {
  if (!can_compare()) return;
  Random random(3);
  for (const WeightType type : kFloatTypes) {
    for (const size_t rows : {1u, 2u, 15u, 16u, 17u, 31u, 32u, 33u, 48u, 49u, 63u, 64u, 65u, 97u, 150u}) {
      for (const size_t xs : {9u, 33u}) check_gemm(random, type, Data::random, 45, rows, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_odd_values) {
  if (!can_compare()) return;
  Random random(4);
  for (const WeightType type : kFloatTypes) {
    for (const Data data : kData) {
      for (const size_t xs : {9u, 20u}) check_gemm(random, type, data, 333, 17, xs);
    }
  }
}

void put_weight(WeightType type, Bytes& row, size_t column, float value) {
  if (type == WeightType::f32) return put_at(row, column * sizeof(float), value);
  const uint16_t bits =
      type == WeightType::f16 ? to_f16(value) : static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  put_at(row, column * sizeof(uint16_t), bits);
}

// Infinities and NaNs touch no product but their rows', and sums that are -0 stay so.
TEST(products_are_the_cpus_bits_where_they_are_no_numbers) {
  if (!can_compare()) return;
  Random random(5);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float odd[] = {kInfinity, -kInfinity, kNan, 0.0f, -0.0f, 0x1p127f, -0x1p127f, -0x1p-149f};
  constexpr size_t kOdd = std::size(odd);
  for (const WeightType type : kFloatTypes) {
    for (const size_t cols : {1u, 5u, 21u, 131u}) {
      auto rows = random_rows(random, type, Data::random, cols, 2 * kOdd + 4);
      auto xs = random_activations(random, type, Data::random, cols, 2 * kOdd + 5);
      for (size_t i = 0; i < kOdd; ++i) {
        put_weight(type, rows[2 * i], cols - 1, odd[i]);
        put_at(xs[2 * i + 1], (cols - 1) * sizeof(float), odd[i]);
      }
      // Products so small that they are -0, in every lane.
      for (size_t c = 0; c < cols; ++c) {
        put_weight(type, rows.back(), c, -0x1p-14f);
        put_at(xs.back(), c * sizeof(float), 0x1p-149f);
      }
      check_gemm(type, rows, xs, cols);
    }
  }
}

}  // namespace
}  // namespace thermocline
