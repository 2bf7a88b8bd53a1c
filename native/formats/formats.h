// Rows of f32 to and from GGUF's weight formats, as ggml's reference quantizers make them: without importance weights,
// and where finite numbers within reach() went in, bit for bit the blocks of llama.cpp on x86-64.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels/kernels.h"

namespace thermocline {

// A row of `cols` elements, a multiple of block_elements(type), becomes row_bytes(type, cols) bytes. Every |x| must be
// at most reach(type).
void quantize_row(WeightType type, const float* x, uint8_t* row, size_t cols);

// The elements that a row stands for, each computed in f32.
void dequantize_row(WeightType type, const uint8_t* row, float* x, size_t cols);

// Magnitudes up to this can be stored; beyond it a scale, or the element itself, may become infinite.
float reach(WeightType type);

}  // namespace thermocline
