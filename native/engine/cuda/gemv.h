// y[j][r] = row r of a matrix · x[j].
#pragma once

#include "products.h"

namespace thermocline::cuda {

inline constexpr unsigned kWarpsInBlock = 4;

// A matrix on the card: rows of card_row_bytes(type, cols) bytes.
struct CardMatrix {
  const std::byte* rows;
  WeightType type;
  unsigned count, cols;
};

template <WeightType Type>
inline constexpr bool kIsFloat = card_block(Type).elements == 0;

// Rows that a warp takes.
template <WeightType Type>
inline constexpr unsigned kRowsOfWarp = kIsFloat<Type> ? kWarp / kFloatLanes : 1;

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
    const unsigned r = first + lane / kFloatLanes;
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

namespace detail {

template <WeightType Type, unsigned X>
void launch_gemv(Stream stream, const CardMatrix& matrix, const void* x, unsigned x_stride, float* y, unsigned y_stride) {
  constexpr unsigned kRows = kWarpsInBlock * kRowsOfWarp<Type>;
  const Launch shape{{(matrix.count + kRows - 1) / kRows}, kWarpsInBlock * kWarp,
                     kIsFloat<Type> ? 0 : kWarpsInBlock * product_bytes(X)};
  launch(stream, gemv<Type, X>, shape, matrix, x, x_stride, y, y_stride);
}

template <WeightType Type>
void launch_gemv(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride, float* y,
                 unsigned y_stride) {
  constexpr size_t kElement = kIsFloat<Type> ? sizeof(float) : sizeof(Q8Activation);
  for (unsigned j = 0; j < rows;) {
    const auto some = [&]<unsigned X>() {
      launch_gemv<Type, X>(stream, matrix, static_cast<const std::byte*>(x) + j * x_stride * kElement, x_stride,
                           y + j * y_stride, y_stride);
      j += X;
    };
    const unsigned left = rows - j;
    if (left >= kMostRows) some.template operator()<kMostRows>();
    else if (left >= 4) some.template operator()<4>();
    else if (left >= 2) some.template operator()<2>();
    else some.template operator()<1>();
  }
}

}  // namespace detail

// `rows` rows of activations; y [rows][y_stride].
inline void multiply(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride,
                     float* y, unsigned y_stride) {
  switch (matrix.type) {
#define THERMOCLINE_CASE(type) \
  case WeightType::type: return detail::launch_gemv<WeightType::type>(stream, matrix, x, rows, x_stride, y, y_stride)
    THERMOCLINE_CASE(f32);
    THERMOCLINE_CASE(f16);
    THERMOCLINE_CASE(bf16);
    THERMOCLINE_CASE(q8_0);
    THERMOCLINE_CASE(q4_0);
    THERMOCLINE_CASE(q4_k);
    THERMOCLINE_CASE(q5_k);
    THERMOCLINE_CASE(q6_k);
#undef THERMOCLINE_CASE
  }
}

}  // namespace thermocline::cuda
