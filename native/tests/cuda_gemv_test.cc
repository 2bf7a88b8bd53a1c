// Products on the card, emulated: the bits of the CPU's kernels for every type, length and number of rows.
#include "../engine/cuda/multiply.h"

#include "card_products.h"

namespace thermocline {
namespace {

using namespace test;

void check(Random& random, WeightType type, Data data, size_t cols, size_t rows, size_t xs) {
  const auto weights = random_rows(random, type, data, cols, rows);
  const auto activations = random_activations(random, type, data, cols, xs);
  check_products(type, weights, activations, cols, [](const cuda::CardMatrix& matrix, auto... rest) {
    cuda::multiply(nullptr, matrix, rest...);
  });
}

TEST(products_are_the_cpus_bits_for_every_length) {
  Random random(11);
  for (const WeightType type : kTypes) {
    for (const size_t cols : lengths(type)) {
      if (cols == 0) continue;
      check(random, type, Data::random, cols, 5, 1);
    }
  }
}

TEST(products_are_the_cpus_bits_for_any_number_of_rows) {
  Random random(12);
  for (const WeightType type : kTypes) {
    const size_t cols = std::max<size_t>(64, block_elements(type));
    for (const size_t rows : {1u, 2u, 3u, 8u, 17u}) {
      for (const size_t xs : {1u, 2u, 3u, 7u, 8u, 9u, 33u}) check(random, type, Data::random, cols, rows, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_odd_values) {
  Random random(13);
  for (const WeightType type : kTypes) {
    for (const Data data : kData) check(random, type, data, 1536, 4, 2);
  }
}

// The smallest product of all is -0, in every lane that has a column.
TEST(products_that_are_minus_zero_are_the_cpus_bits) {
  if (!fuses(fusing_kernels())) return;
  for (const size_t cols : {1u, 15u, 16u, 17u, 32u, 40u, 130u}) {
    Bytes row, x;
    for (size_t c = 0; c < cols; ++c) {
      append(row, -0x1p-14f);
      append(x, 0x1p-149f);
    }
    check_products(WeightType::f32, {row, row, row}, {x, x}, cols, [](const cuda::CardMatrix& matrix, auto... rest) {
      cuda::multiply(nullptr, matrix, rest...);
    });
  }
}

TEST(rows_on_the_card_take_hardly_more_than_in_the_file) {
  for (const WeightType type : kTypes) {
    CHECK(cuda::card_row_bytes(type, 4096) == row_bytes(type, 4096));
    CHECK(cuda::card_row_bytes(type, 4096) % cuda::kPieceBytes == 0);
  }
}

}  // namespace
}  // namespace thermocline
