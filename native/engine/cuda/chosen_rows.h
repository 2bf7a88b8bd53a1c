// Products with some rows of a matrix, chosen while the kernel runs.
#pragma once

#include "gemv.h"

namespace thermocline::cuda {

// Multiplies the rows first + b for the bits b of `which`, which a block's threads have all alike; its warps take turns.
// Calls take(b, j, row first + b · x[j]) in one lane for each b and j. `terms` is the warp's: product_bytes(X), but for
// floats.
template <WeightType Type, unsigned X, class Take>
THERMOCLINE_DEVICE void multiply_chosen(const CardMatrix& matrix, unsigned first, uint32_t which, const void* x,
                                        unsigned x_stride, float* terms, const Take& take) {
  const size_t row_bytes = card_row_bytes(Type, matrix.cols);
  const unsigned warp = thread_index() / kWarp, lane = lane_index();
  for (unsigned turn = 0; which != 0; ++turn) {
    const unsigned bit = lowest_bit(which);
    which &= which - 1;
    if constexpr (kIsFloat<Type>) {
      // The warp's second half takes the next row; where there is none, the same again, for the shuffles' sake.
      const bool second = lane >= kFloatLanes, has_next = which != 0;
      const unsigned mine = second && has_next ? lowest_bit(which) : bit;
      which &= which - 1;
      if (turn % kWarpsInBlock != warp) continue;
      float sums[X];
      float_product<Type, X>(matrix.rows + (first + mine) * row_bytes, matrix.cols, static_cast<const float*>(x),
                             x_stride, sums);
      if (lane % kFloatLanes != 0 || (second && !has_next)) continue;
      for (unsigned j = 0; j < X; ++j) take(mine, j, sums[j]);
    } else {
      if (turn % kWarpsInBlock != warp) continue;
      const float sum = block_product<Type, X>(matrix.rows + (first + bit) * row_bytes, matrix.cols,
                                               static_cast<const Q8Activation*>(x), x_stride, terms);
      for (unsigned j = 0; j < X; ++j) {
        if (lane == j) take(bit, j, sum);
      }
    }
  }
}

// Shared memory a block needs for that.
template <WeightType Type>
constexpr size_t chosen_bytes(unsigned x) {
  return kIsFloat<Type> ? 0 : kWarpsInBlock * product_bytes(x);
}

}  // namespace thermocline::cuda
