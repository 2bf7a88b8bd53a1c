// y[j][r] = row r of a matrix · x[j] for few rows of activations: a warp a row of weights.
#pragma once

#include "dispatch.h"
#include "products.h"

namespace thermocline::cuda {

inline constexpr unsigned kWarpsInBlock = 4;

template <WeightType Type>
inline constexpr bool kIsFloat = card_block(Type).elements == 0;

// Rows that a warp takes.
template <WeightType Type>
inline constexpr unsigned kRowsOfWarp = kIsFloat<Type> ? unsigned{kWarp / kFloatLanes} : 1;

// Activations are floats for float weights, else Q8Activation blocks; x_stride counts them from row to row.
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void gemv(CardMatrix matrix, const void* x, unsigned x_stride, float* y, unsigned y_stride) {
  const size_t row_bytes = card_row_bytes(Type, matrix.cols);
  const unsigned warp = thread_index() / kWarp;
  const unsigned first = (block_index().x * kWarpsInBlock + warp) * kRowsOfWarp<Type>;
  if (first >= matrix.count) return;
  const unsigned lane = lane_index();
  if constexpr (kIsFloat<Type>) {
    // With an odd number of rows the last warp's second half multiplies the last row as well, for the shuffles' sake.
    const unsigned r = first + lane / unsigned{kFloatLanes};
    const unsigned row = r < matrix.count ? r : matrix.count - 1;
    float sums[X];
    float_product<Type, X>(matrix.rows + row * row_bytes, matrix.cols, static_cast<const float*>(x), x_stride, sums);
    if (lane % kFloatLanes == 0 && r < matrix.count) {
      for (unsigned j = 0; j < X; ++j) y[j * y_stride + r] = sums[j];
    }
  } else {
    float* terms = reinterpret_cast<float*>(shared_memory() + warp * product_bytes(X));
    const float sum = block_product<Type, X>(matrix.rows + first * row_bytes, matrix.cols,
                                             static_cast<const Q8Activation*>(x), x_stride, terms);
    if (lane < X) y[lane * y_stride + first] = sum;
  }
}

// `rows` rows of activations, in tiles of at most kMostRows; y [rows][y_stride].
template <WeightType Type>
void multiply_few(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride, float* y,
                  unsigned y_stride) {
  constexpr unsigned kRows = kWarpsInBlock * kRowsOfWarp<Type>;
  constexpr size_t kElement = kIsFloat<Type> ? sizeof(float) : sizeof(Q8Activation);
  for_tiles(rows, [&](unsigned first, unsigned tile) {
    const void* from = static_cast<const std::byte*>(x) + size_t{first} * x_stride * kElement;
    for_tile(tile, [&]<unsigned X>() {
      const Launch shape{{(matrix.count + kRows - 1) / kRows}, kWarpsInBlock * kWarp,
                         kIsFloat<Type> ? 0 : kWarpsInBlock * product_bytes(X)};
      launch(stream, gemv<Type, X>, shape, matrix, from, x_stride, y + size_t{first} * y_stride, y_stride);
    });
  });
}

}  // namespace thermocline::cuda
