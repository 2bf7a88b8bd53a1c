// Views of weights and of the activations they are multiplied with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../../kernels/kernels.h"
#include "thread_pool.h"

namespace thermocline {

// What every phase computes with.
struct Compute {
  ThreadPool& pool;
  const Kernels& kernels;
};

// Row after row, as the file has them, or sixteen at a time in panels (kernels.h).
enum class Layout : uint8_t { rows, panels };

// Weights of one type, in the model file's pages or in a copy; `stride` bytes from a row, or panel, to the next.
struct Matrix {
  const std::byte* data;
  size_t stride;
  uint32_t rows;
  uint32_t cols;  // elements a row
  WeightType type;
  Layout layout = Layout::rows;

  const std::byte* row(size_t index) const { return data + index * stride; }
  // The panels that hold outputs first .. first + count - 1; `first` is a panel's first.
  Panels panels(size_t first, size_t count) const {
    return {data + first / kPanelRows * stride, stride, (count + kPanelRows - 1) / kPanelRows};
  }
  uint64_t bytes() const { return uint64_t{rows} * row_bytes(type, cols); }
};

// Rows of activations [rows][cols], as f32 and, where some weights want it, quantized.
struct Inputs {
  const float* f32;
  const Q8Activation* quantized;
  size_t cols;

  // `count` rows from `first` on, from their `block`-th 32 elements on, in the form that weights of `type` want.
  Activations rows(WeightType type, size_t first, size_t count, size_t block = 0) const {
    if (wants_quantized_activation(type)) {
      const size_t blocks = cols / kBlock;
      return {quantized + first * blocks + block, blocks * sizeof(Q8Activation), count};
    }
    return {f32 + first * cols + block * kBlock, cols * sizeof(float), count};
  }
};

// Rows of a step that share one pass over the weights. With 32 uses of each weight a core computes for longer than it
// waits for memory, so wider tiles would not be faster, and 32 rows of 4096 floats (512 KiB) still fit an L2 cache.
inline constexpr size_t kRowTile = 32;

}  // namespace thermocline
