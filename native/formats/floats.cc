// F32, F16 (IEEE half precision) and BF16 (the upper half of an f32), element by element, rounded to nearest even.
#include <bit>

#include "../kernels/half.h"
#include "rows.h"

namespace thermocline::formats {

// Nothing may come from or go to nowhere, which memcpy does not allow.
void quantize_f32(const float* x, uint8_t* row, size_t cols) {
  if (cols > 0) std::memcpy(row, x, cols * sizeof(float));
}

void dequantize_f32(const uint8_t* row, float* x, size_t cols) {
  if (cols > 0) std::memcpy(x, row, cols * sizeof(float));
}

void quantize_f16(const float* x, uint8_t* row, size_t cols) {
  for (size_t i = 0; i < cols; ++i) store16(to_f16(x[i]), row + sizeof(uint16_t) * i);
}

void dequantize_f16(const uint8_t* row, float* x, size_t cols) {
  for (size_t i = 0; i < cols; ++i) x[i] = from_f16(load16(row + sizeof(uint16_t) * i));
}

void quantize_bf16(const float* x, uint8_t* row, size_t cols) {
  for (size_t i = 0; i < cols; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    store16(static_cast<uint16_t>(rounded), row + sizeof(uint16_t) * i);
  }
}

void dequantize_bf16(const uint8_t* row, float* x, size_t cols) {
  for (size_t i = 0; i < cols; ++i) {
    x[i] = std::bit_cast<float>(static_cast<uint32_t>(load16(row + sizeof(uint16_t) * i)) << 16);
  }
}

}  // namespace thermocline::formats
