// Products of many rows of activations on the card's tensor cores, emulated: the bits of the CPU's kernels.
#include "../engine/cuda/gemm.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "../engine/cuda/dispatch.h"
#include "card_products.h"

namespace thermocline {
namespace {

using namespace test;

// Columns of a, and rows of b, of a step.
template <unsigned K>
THERMOCLINE_KERNEL void multiply_step(const int8_t* a, const int8_t* b, int c, int* d) {
  const unsigned g = cuda::lane_index() / 4, t = cuda::lane_index() % 4;
  const auto word = [](const int8_t* from) {
    uint32_t four;
    std::memcpy(&four, from, sizeof four);
    return four;
  };
  uint32_t rows[K / 8], columns[K / 16];
  for (unsigned i = 0; i < K / 8; ++i) rows[i] = word(a + (g + i % 2 * 8) * K + i / 2 * 16 + 4 * t);
  for (unsigned i = 0; i < K / 16; ++i) columns[i] = word(b + g * K + i * 16 + 4 * t);
  int products[4];
  if constexpr (K == 16) {
    cuda::multiply_tile(rows, columns[0], c, products);
  } else {
    cuda::multiply_tile(rows, columns, c, products);
    // The same by steps that add: of bytes that are negative an unsigned product is 256 times the other factor too large.
    int added[4] = {c, c, c, c}, unsigned_ones[4] = {c, c, c, c}, negative[4] = {};
    cuda::add_tile<true>(rows, columns, added);
    cuda::add_tile<false>(rows, columns, unsigned_ones);
    for (uint32_t& row : rows) row = row >> 7 & 0x01010101;
    cuda::add_tile<true>(rows, columns, negative);
    for (unsigned i = 0; i < 4; ++i) {
      if (added[i] != products[i] || unsigned_ones[i] - 256 * negative[i] != products[i]) products[i] = ~products[i];
    }
  }
  for (unsigned i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = products[i];
}

// a [16][K], b [8][K]: its columns.
template <unsigned K>
void check_step(CardMemory<int8_t> a, CardMemory<int8_t> b, int c) {
  CardMemory<int> d(16 * 8);
  cuda::launch(nullptr, multiply_step<K>, cuda::Launch{{1}, cuda::kWarp}, static_cast<const int8_t*>(a.data()),
               static_cast<const int8_t*>(b.data()), c, d.data());
  for (unsigned row = 0; row < 16; ++row) {
    for (unsigned column = 0; column < 8; ++column) {
      int sum = c;
      for (unsigned k = 0; k < K; ++k) sum += a[row * K + k] * b[column * K + k];
      CHECK_EQ(d[row * 8 + column], sum);
    }
  }
}

TEST(a_step_of_a_tensor_core_multiplies_matrices) {
  Random random(1);
  for (const int c : {0, 1, -123456, cuda::kBiasBits}) {
    const auto bytes = [&](size_t count) {
      std::vector<int8_t> all(count);
      for (int8_t& value : all) value = static_cast<int8_t>(random_bits(random));
      return CardMemory<int8_t>(all);
    };
    check_step<16>(bytes(16 * 16), bytes(8 * 16), c);
    check_step<32>(bytes(16 * 32), bytes(8 * 32), c);
    for (const int8_t most : {int8_t{-128}, int8_t{127}}) {
      check_step<32>(CardMemory<int8_t>(std::vector<int8_t>(16 * 32, -128)),
                     CardMemory<int8_t>(std::vector<int8_t>(8 * 32, most)), c);
    }
  }
}

// Of floats, and of doubles.
void check_gemm(WeightType type, const std::vector<Bytes>& weights, const std::vector<Bytes>& xs, size_t cols) {
  const auto multiply = [](const cuda::CardMatrix& matrix, const std::byte* x, auto... rest) {
    cuda::for_type(matrix.type, [&]<WeightType Type>() {
      if constexpr (cuda::card_block(Type).elements > 0) {
        cuda::multiply_many<Type>(nullptr, matrix, reinterpret_cast<const Q8Activation*>(x), rest...);
      }
    });
  };
  check_products<float>(type, weights, xs, cols, multiply);
  check_products<double>(type, weights, xs, cols, multiply);
}

void check_gemm(Random& random, WeightType type, Data data, size_t cols, size_t rows, size_t xs) {
  check_gemm(type, random_rows(random, type, data, cols, rows), random_activations(random, type, data, cols, xs), cols);
}

TEST(products_are_the_cpus_bits_for_every_length) {
  Random random(2);
  for (const WeightType type : kPanelTypes) {
    for (const size_t cols : lengths(type)) {
      if (cols > 0) check_gemm(random, type, Data::random, cols, 3, 9);
    }
  }
}

TEST(products_are_the_cpus_bits_for_any_number_of_activations) {
  Random random(3);
  for (const WeightType type : kPanelTypes) {
    const size_t cols = 2 * kSuperBlock;
    for (const size_t xs : {1u, 8u, 9u, 15u, 16u, 17u, 32u, 33u, 47u, 48u, 63u, 64u, 65u, 81u, 130u}) {
      check_gemm(random, type, Data::random, cols, 9, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_any_number_of_weights) {
  Random random(4);
  for (const WeightType type : kPanelTypes) {
    for (const size_t rows : {1u, 2u, 7u, 8u, 16u, 17u, 31u, 63u, 64u, 65u, 150u}) {
      for (const size_t xs : {9u, 17u, 33u}) check_gemm(random, type, Data::random, kSuperBlock, rows, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_odd_values) {
  Random random(5);
  for (const WeightType type : kPanelTypes) {
    for (const Data data : kData) {
      for (const size_t xs : {9u, 64u}) check_gemm(random, type, data, 4 * kSuperBlock, 17, xs);
    }
  }
}

// A row whose blocks hold one byte all over, beside their scales.
Bytes row_of(WeightType type, uint8_t byte, size_t cols) {
  Bytes row(row_bytes(type, cols), byte);
  for (size_t start = 0; start < row.size(); start += block_bytes(type)) {
    for (const size_t half : {halves_of(type).d, halves_of(type).minimum_d}) put_at(row, start + half, to_f16(-1.75f));
  }
  return row;
}

TEST(products_are_the_cpus_bits_for_the_largest_integers) {
  const size_t cols = 2 * kSuperBlock;
  std::vector<Bytes> xs;
  for (const float scale : {1.0f, 0x1p-126f, 0x1p120f}) {
    for (const int8_t most : {int8_t{127}, int8_t{-127}, int8_t{0}}) {
      int8_t quants[kBlock];
      std::fill_n(quants, kBlock, most);
      Bytes x;
      for (size_t block = 0; block < cols / kBlock; ++block) append_activation_block(x, scale, quants);
      xs.push_back(x);
    }
  }
  for (const WeightType type : kPanelTypes) {
    std::vector<Bytes> rows;
    for (const uint8_t byte : {0x00, 0xff, 0x80, 0x7f, 0x08, 0xf0, 0x0f, 0x3f}) {
      rows.push_back(row_of(type, byte, cols));
    }
    check_gemm(type, rows, xs, cols);
  }
}

// Infinities and NaNs among the scales, of weights and of activations, and products too large or too small for f32.
TEST(products_are_the_cpus_bits_where_they_are_no_numbers) {
  Random random(6);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const size_t cols = 3 * kSuperBlock;
  for (const WeightType type : kPanelTypes) {
    auto rows = random_rows(random, type, Data::huge, cols, 21);
    size_t row = 0;
    for (const float odd : {kInfinity, -kInfinity, kNan, 0.0f, -0.0f}) {
      for (const size_t half : {halves_of(type).d, halves_of(type).minimum_d}) {
        put_at(rows[row++], block_bytes(type) + half, to_f16(odd));
      }
    }
    // An infinity times a block without quants is a NaN; else it depends on the sign.
    put_at(rows[row++], halves_of(type).d, to_f16(kInfinity));
    auto xs = random_activations(random, type, Data::random, cols, 19);
    for (const size_t at : {size_t{0}, sizeof(Q8Activation)}) {
      put_at(xs[3], at, kNan);
      put_at(xs[4], at, 0x1p127f);
      put_at(xs[5], at, -0x1p127f);
      put_at(xs[6], at, 0x1p-149f);
      std::fill_n(xs[7].begin() + static_cast<std::ptrdiff_t>(at), sizeof(Q8Activation), uint8_t{0});
    }
    check_gemm(type, rows, xs, cols);
  }
}

// Infinite weights times activations of 0 are no number, unless they are left out with their block.
TEST(blocks_that_are_not_needed_are_left_out) {
  Random random(7);
  const size_t cols = 2 * kSuperBlock, words = cols / kBlock;
  for (const WeightType type : kPanelTypes) {
    auto rows = random_rows(random, type, Data::random, cols, 3);
    auto xs = random_activations(random, type, Data::random, cols, 9);
    put_at(rows[1], halves_of(type).d, to_f16(std::numeric_limits<float>::infinity()));
    const size_t of_block = block_elements(type) / kBlock;
    std::vector<uint32_t> nonzero(xs.size() * words, 1);
    for (const size_t j : {2u, 5u}) {
      std::fill_n(xs[j].begin(), of_block * sizeof(Q8Activation), uint8_t{0});
      std::fill_n(nonzero.begin() + static_cast<std::ptrdiff_t>(j * words), of_block, 0u);
    }
    nonzero[5 * words + of_block - 1] = 2;  // one of the block's neurons is needed
    CardMemory<std::byte> card = card_rows(type, rows, cols);
    CardMemory<Q8Activation> x(xs.size() * words);
    for (size_t j = 0; j < xs.size(); ++j) std::memcpy(x.data() + j * words, xs[j].data(), xs[j].size());
    const CardMemory<uint32_t> bits(nonzero);
    CardMemory<double> y(xs.size() * rows.size());
    cuda::for_type(type, [&]<WeightType Type>() {
      if constexpr (cuda::card_block(Type).elements > 0) {
        cuda::multiply_many<Type>(nullptr, {card.data(), type, 3, static_cast<unsigned>(cols)}, x.data(), 9,
                                  static_cast<unsigned>(words), y.data(), 3, bits.data());
      }
    });
    for (size_t j = 0; j < xs.size(); ++j) CHECK_EQ(std::isfinite(y[3 * j + 1]), j == 2);
    for (size_t j = 0; j < xs.size(); ++j) CHECK(std::isfinite(y[3 * j]) && std::isfinite(y[3 * j + 2]));
  }
}

}  // namespace
}  // namespace thermocline
