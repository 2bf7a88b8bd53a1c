// Products on the card, held against the CPU's.
#pragma once

#include "card.h"
#include "kernel_calls.h"

namespace thermocline::test {

// The CPU's kernels whose bits the card gives: for floats with fused multiply-adds, as the card has them.
inline const Kernels& yardstick(WeightType type) {
  return block_elements(type) > 1 ? scalar_kernels() : fusing_kernels();
}

// Fails unless multiply(matrix, x, rows, x_stride, y, y_stride), called as cuda::multiply() is, gives the CPU's bits; of
// doubles, once rounded to f32.
template <class Number = float, class Multiply>
void check_products(WeightType type, const std::vector<Bytes>& weights, const std::vector<Bytes>& xs, size_t cols,
                    const Multiply& multiply) {
  const auto expected = products<Number>(yardstick(type), type, weights, xs, cols);
  const size_t rows = weights.size();
  CardMemory<std::byte> card = card_rows(type, weights, cols);
  // Rows of x and y with something between them.
  const size_t element = wants_quantized_activation(type) ? sizeof(Q8Activation) : sizeof(float);
  const size_t x_stride = xs[0].size() / element + 1, y_stride = rows + 3;
  CardMemory<std::byte> x(xs.size() * x_stride * element);
  for (size_t j = 0; j < xs.size(); ++j) std::memcpy(x.data() + j * x_stride * element, xs[j].data(), xs[j].size());
  CardMemory<Number> y(std::vector<Number>(xs.size() * y_stride, Number{-7}));
  const cuda::CardMatrix matrix{card.data(), type, static_cast<unsigned>(rows), static_cast<unsigned>(cols)};
  multiply(matrix, x.data(), static_cast<unsigned>(xs.size()), static_cast<unsigned>(x_stride), y.data(),
           static_cast<unsigned>(y_stride));
  for (size_t j = 0; j < xs.size(); ++j) {
    for (size_t r = 0; r < y_stride; ++r) {
      const auto wanted = static_cast<float>(r < rows ? expected[j * rows + r] : Number{-7});
      if (same_value(static_cast<float>(y[j * y_stride + r]), wanted)) continue;
      fail(__FILE__, __LINE__, name_of(type), ", ", cols, " columns, row ", r, " of ", rows, ", activations ", j,
           " of ", xs.size(), ": ", y[j * y_stride + r], " instead of ", wanted);
    }
  }
}

}  // namespace thermocline::test
