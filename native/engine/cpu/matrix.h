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

// Rows of one weight type, `stride` bytes apart, in the model file's pages or in a copy.
struct Matrix {
  const std::byte* data;
  size_t stride;
  uint32_t rows;
  uint32_t cols;  // elements a row
  WeightType type;

  const std::byte* row(size_t index) const { return data + index * stride; }
  uint64_t bytes() const { return uint64_t{rows} * row_bytes(type, cols); }
};

// Rows of activations [rows][cols], as f32 and, where some weights want it, quantized.
struct Inputs {
  const float* f32;
  const Q8Activation* quantized;
  size_t cols;

  // Row `index`, from its `block`-th 32 elements on, in the form that weights of `type` want.
  const void* row(WeightType type, size_t index, size_t block = 0) const {
    if (wants_quantized(type)) return quantized + index * (cols / kBlock) + block;
    return f32 + index * cols + block * kBlock;
  }

  static constexpr bool wants_quantized(WeightType type) {
    return type == WeightType::q8_0 || type == WeightType::q4_0;
  }
};

// Rows of a step that share one pass over the weights. With 32 uses of each weight a core computes for longer than it
// waits for memory, so wider tiles would not be faster, and 32 rows of 4096 floats (512 KiB) still fit an L2 cache.
inline constexpr size_t kRowTile = 32;

}  // namespace thermocline
