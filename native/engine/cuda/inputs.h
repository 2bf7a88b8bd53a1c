// Rows of activations in the forms that weights want.
#pragma once

#include "multiply.h"
#include "quantize.h"

namespace thermocline::cuda {

constexpr bool wants_blocks(WeightType type) { return card_block(type).elements > 0; }

// [rows][cols], as f32 and, where some weights want it, quantized.
struct CardInputs {
  const float* f32;
  const Q8Activation* quantized;
  unsigned cols;

  // From row `first` on, for weights of `type`; and what lies from row to row, in elements or in blocks.
  const void* rows(WeightType type, unsigned first) const {
    const size_t offset = size_t{first} * stride(type);
    if (wants_blocks(type)) return quantized + offset;
    return f32 + offset;
  }
  unsigned stride(WeightType type) const {
    return wants_blocks(type) ? cols / static_cast<unsigned>(kBlock) : cols;
  }
};

// y[j * y_stride + r] = row r of the matrix · x's row first + j, for `rows` rows of x.
inline void multiply(Stream stream, const CardMatrix& matrix, const CardInputs& x, unsigned first, unsigned rows,
                     float* y, unsigned y_stride) {
  multiply(stream, matrix, x.rows(matrix.type, first), rows, x.stride(matrix.type), y, y_stride);
}

}  // namespace thermocline::cuda
