// RMSNorm: y = x / sqrt(mean(x^2) + epsilon) * weight, with the bits of the CPU's.
#pragma once

#include "card_rows.h"
#include "quantize.h"

namespace thermocline::cuda {

inline constexpr unsigned kNormThreads = 256;
// Of a row, in shared memory at a time: whole turns of the lanes that add squares up. 16 KiB.
inline constexpr unsigned kNormTile = 4096;

// The sum of a row's squares as the CPU's products of floats are summed (kernels.h): sixteen threads' fused
// multiply-adds, halved four times. All others fetch the row for them. Every thread of a block must call it.
THERMOCLINE_DEVICE float sum_of_squares(const float* x, unsigned cols) {
  float* tile = reinterpret_cast<float*>(shared_memory());
  const unsigned thread = thread_index();
  float sum = 0;
  for (unsigned first = 0; first < cols; first += kNormTile) {
    const unsigned count = cols - first < kNormTile ? cols - first : kNormTile;
    for (unsigned i = thread; i < count; i += block_threads()) tile[i] = x[first + i];
    sync_threads();
    if (thread < kFloatLanes) {
      for (unsigned i = thread; i < count; i += kFloatLanes) sum = fmaf(tile[i], tile[i], sum);
    }
    sync_threads();
  }
  if (thread < kWarp) {
    for (unsigned half = kFloatLanes / 2; half > 0; half /= 2) sum += from_lane(sum, lane_index() + half);
    if (thread == 0) tile[0] = sum;
  }
  sync_threads();
  return tile[0];
}

// A block normalizes a row.
THERMOCLINE_KERNEL void rms_norm_rows(const float* x, const float* weight, float epsilon, unsigned cols, float* y,
                                      Q8Activation* quantized) {
  const size_t row = block_index().x;
  x += row * cols;
  y += row * cols;
  const float mean_square = sum_of_squares(x, cols) / static_cast<float>(cols);
  const float scale = 1.0f / sqrtf(mean_square + epsilon);
  if (quantized == nullptr) {
    for (unsigned i = thread_index(); i < cols; i += block_threads()) y[i] = x[i] * scale * weight[i];
    return;
  }
  quantized += row * (cols / kBlock);
  const unsigned fours = cols / 4;
  for (unsigned first = 0; first < fours; first += block_threads()) {
    const unsigned at = first + thread_index();
    const bool wanted = at < fours;
    FourFloats four{};
    if (wanted) {
      four = reinterpret_cast<const FourFloats*>(x)[at];
      const FourFloats weights = reinterpret_cast<const FourFloats*>(weight)[at];
      for (unsigned i = 0; i < 4; ++i) four.values[i] = four.values[i] * scale * weights.values[i];
      reinterpret_cast<FourFloats*>(y)[at] = four;
    }
    quantize_block(four, wanted, quantized + at / kLanesOfBlock);
  }
}

// y [rows][cols] from x [rows][cols] and weight [cols]; and y quantized, [rows][cols / 32], unless that is null. With it,
// cols is a multiple of 32.
inline void rms_norm(Stream stream, const float* x, const float* weight, float epsilon, unsigned rows, unsigned cols,
                     float* y, Q8Activation* quantized) {
  const unsigned tile = cols < kNormTile ? cols : kNormTile;
  launch(stream, rms_norm_rows, {{rows}, kNormThreads, tile * sizeof(float)}, x, weight, epsilon, cols, y, quantized);
}

}  // namespace thermocline::cuda
