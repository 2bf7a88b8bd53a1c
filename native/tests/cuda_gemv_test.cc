// Products on the card, emulated: the bits of the CPU's kernels for every type, length and number of rows.
#include "../engine/cuda/gemv.h"

#include <cstring>
#include <vector>

#include "instruction_sets.h"
#include "kernel_calls.h"

namespace thermocline {
namespace {

using namespace test;

// At addresses that are multiples of 16, as the card's memory is laid out.
template <class T>
struct CardMemory {
  std::vector<cuda::Piece> pieces;
  explicit CardMemory(size_t count) : pieces((count * sizeof(T) + sizeof(cuda::Piece) - 1) / sizeof(cuda::Piece)) {}
  T* data() { return reinterpret_cast<T*>(pieces.data()); }
};

// The CPU's, with fused multiply-adds where floats are concerned, as the card has them.
const Kernels& yardstick(WeightType type) {
  if (block_elements(type) > 1) return scalar_kernels();
  const Kernels* fused = kernels_for(InstructionSet::avx2);
  return fused != nullptr ? *fused : scalar_kernels();
}

void check(Random& random, WeightType type, Data data, size_t cols, size_t rows, size_t xs) {
  const auto weights = random_rows(random, type, data, cols, rows);
  const auto activations = random_activations(random, type, data, cols, xs);
  const auto expected = products<float>(yardstick(type), type, weights, activations, cols);

  const size_t card_bytes = cuda::card_row_bytes(type, cols);
  CardMemory<std::byte> card(rows * card_bytes);
  for (size_t r = 0; r < rows; ++r) {
    cuda::to_card_row(type, reinterpret_cast<const std::byte*>(weights[r].data()), cols,
                      card.data() + r * card_bytes);
  }
  const size_t x_bytes = activations.empty() ? 0 : activations[0].size();
  CardMemory<std::byte> x(xs * x_bytes);
  for (size_t j = 0; j < xs; ++j) std::memcpy(x.data() + j * x_bytes, activations[j].data(), x_bytes);

  const size_t stride = rows + 3;
  std::vector<float> y(xs * stride, -7.0f);
  const size_t element = wants_quantized_activation(type) ? sizeof(Q8Activation) : sizeof(float);
  cuda::multiply(nullptr, {card.data(), type, static_cast<unsigned>(rows), static_cast<unsigned>(cols)}, x.data(),
                 static_cast<unsigned>(xs), static_cast<unsigned>(x_bytes / element), y.data(),
                 static_cast<unsigned>(stride));
  for (size_t j = 0; j < xs; ++j) {
    for (size_t r = 0; r < stride; ++r) {
      const float wanted = r < rows ? expected[j * rows + r] : -7.0f;
      if (std::memcmp(&y[j * stride + r], &wanted, sizeof wanted) == 0) continue;
      fail(__FILE__, __LINE__, name_of(type), ", ", cols, " columns, row ", r, " of ", rows, ", activations ", j,
           " of ", xs, ": ", y[j * stride + r], " instead of ", wanted);
    }
  }
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
      for (const size_t xs : {1u, 2u, 3u, 7u, 8u, 13u}) check(random, type, Data::random, cols, rows, xs);
    }
  }
}

TEST(products_are_the_cpus_bits_for_odd_values) {
  Random random(13);
  for (const WeightType type : kTypes) {
    for (const Data data : kData) check(random, type, data, 1536, 4, 2);
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
