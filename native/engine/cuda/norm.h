// RMSNorm and LayerNorm with the bits of the CPU's (cpu/norm.h).
#pragma once

#include "../plan.h"
#include "card_rows.h"
#include "quantize.h"

namespace thermocline::cuda {

inline constexpr unsigned kNormThreads = 256;
// Of a row, in shared memory at a time: whole turns of the lanes that add up. 16 KiB.
inline constexpr unsigned kNormTile = 4096;

// A row's elements added up as the CPU's products of floats are (kernels.h): sixteen threads call add(sum, element) for
// theirs, and halve four times. All others fetch the row for them. Every thread of a block must call it.
template <class Add>
THERMOCLINE_DEVICE float sum_in_lanes(const float* x, unsigned cols, const Add& add) {
  float* tile = reinterpret_cast<float*>(shared_memory());
  const unsigned thread = thread_index();
  float sum = 0;
  for (unsigned first = 0; first < cols; first += kNormTile) {
    const unsigned count = cols - first < kNormTile ? cols - first : kNormTile;
    for (unsigned i = thread; i < count; i += block_threads()) tile[i] = x[first + i];
    sync_threads();
    if (thread < kFloatLanes) {
      for (unsigned i = thread; i < count; i += kFloatLanes) sum = add(sum, tile[i]);
    }
    sync_threads();
  }
  if (thread < kWarp) {
    for (unsigned half = kFloatLanes / 2; half > 0; half /= 2) sum += from_lane(sum, lane_index() + half);
    if (thread == 0) tile[0] = sum;
  }
  sync_threads();
  const float total = tile[0];
  sync_threads();  // before the next sum's row takes its place
  return total;
}

// A block normalizes a row.
THERMOCLINE_KERNEL void normalize_rows(const float* x, Norm norm, CardNorm weights, float epsilon, unsigned cols,
                                       float* y, Q8Activation* quantized) {
  const size_t row = block_index().x;
  x += row * cols;
  y += row * cols;
  const auto width = static_cast<float>(cols);
  // Where there is none to be taken off, x - 0 is x to the bit.
  float mean = 0;
  if (norm == Norm::layer) mean = sum_in_lanes(x, cols, [](float sum, float value) { return sum + value; }) / width;
  const float squares = sum_in_lanes(x, cols, [mean](float sum, float value) {
    const float centred = value - mean;
    return fmaf(centred, centred, sum);
  });
  const float scale = 1.0f / sqrtf(squares / width + epsilon);
  if (quantized == nullptr) {
    for (unsigned i = thread_index(); i < cols; i += block_threads()) {
      float value = (x[i] - mean) * scale;
      if (weights.weight != nullptr) value *= weights.weight[i];
      if (weights.bias != nullptr) value += weights.bias[i];
      y[i] = value;
    }
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
      for (float& value : four.values) value = (value - mean) * scale;
      if (weights.weight != nullptr) {
        const FourFloats factors = reinterpret_cast<const FourFloats*>(weights.weight)[at];
        for (unsigned i = 0; i < 4; ++i) four.values[i] *= factors.values[i];
      }
      if (weights.bias != nullptr) {
        const FourFloats terms = reinterpret_cast<const FourFloats*>(weights.bias)[at];
        for (unsigned i = 0; i < 4; ++i) four.values[i] += terms.values[i];
      }
      reinterpret_cast<FourFloats*>(y)[at] = four;
    }
    quantize_block(four, wanted, quantized + at / kLanesOfBlock);
  }
}

// The shape's norm of every row: y [rows][embd] from x [rows][embd]; and y quantized, [rows][embd / 32], unless that is
// null. With it, embd is a multiple of 32.
inline void normalize(Stream stream, const ModelShape& shape, const CardNorm& weights, const float* x, unsigned rows,
                      float* y, Q8Activation* quantized) {
  const unsigned cols = shape.embd;
  const unsigned tile = cols < kNormTile ? cols : kNormTile;
  launch(stream, normalize_rows, {{rows}, kNormThreads, tile * sizeof(float)}, x, shape.norm, weights,
         shape.norm_epsilon, cols, y, quantized);
}

}  // namespace thermocline::cuda
