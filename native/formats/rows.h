// What each format does with a row; see quantize_row() and dequantize_row().
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace thermocline::formats {

void quantize_f32(const float* x, uint8_t* row, size_t cols);
void dequantize_f32(const uint8_t* row, float* x, size_t cols);
void quantize_f16(const float* x, uint8_t* row, size_t cols);
void dequantize_f16(const uint8_t* row, float* x, size_t cols);
void quantize_bf16(const float* x, uint8_t* row, size_t cols);
void dequantize_bf16(const uint8_t* row, float* x, size_t cols);
void quantize_q8_0(const float* x, uint8_t* row, size_t cols);
void dequantize_q8_0(const uint8_t* row, float* x, size_t cols);
void quantize_q4_0(const float* x, uint8_t* row, size_t cols);
void dequantize_q4_0(const uint8_t* row, float* x, size_t cols);
void quantize_q4_k(const float* x, uint8_t* row, size_t cols);
void dequantize_q4_k(const uint8_t* row, float* x, size_t cols);
void quantize_q5_k(const float* x, uint8_t* row, size_t cols);
void dequantize_q5_k(const uint8_t* row, float* x, size_t cols);
void quantize_q6_k(const float* x, uint8_t* row, size_t cols);
void dequantize_q6_k(const uint8_t* row, float* x, size_t cols);

// 1 / scale, or 0 for scales so small that it would overflow: as halves they are 0 themselves.
inline float inverse_of(float scale) {
  const float inverse = 1 / scale;
  return std::isfinite(inverse) ? inverse : 0;
}

// Rows may start at any address.
inline uint16_t load16(const uint8_t* from) {
  uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void store16(uint16_t value, uint8_t* to) { std::memcpy(to, &value, sizeof value); }

}  // namespace thermocline::formats
