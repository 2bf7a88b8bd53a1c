// IEEE 754 half precision (binary16) in integer arithmetic, bit for bit what F16C computes.
#pragma once

#include <bit>
#include <cstdint>

namespace thermocline {

// Exact; a signalling NaN becomes quiet. Free of branches, so that compilers can vectorize loops over it.
inline float from_f16(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7fffu;
  const uint32_t is_subnormal = 0u - (magnitude < 0x0400u);  // all bits, or none
  const uint32_t is_special = 0u - (magnitude >= 0x7c00u);
  const uint32_t is_nan = 0u - (magnitude > 0x7c00u);
  // Exponents are biased by 15 in a half and by 127 in a float. A subnormal half counts units of 2^-24.
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t subnormal = std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t finite = (subnormal & is_subnormal) | (normal & ~is_subnormal);
  return std::bit_cast<float>(sign | finite | (0x7f800000u & is_special) | (0x00400000u & is_nan));
}

// bfloat16: a float's leading 16 bits.
inline float from_bf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

// To the nearest half, ties to even; 65520 and more become infinity, a NaN becomes quiet and keeps its leading bits.
inline uint16_t to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x03ffu);
  } else if (magnitude >= 0x47800000u) {  // 65536
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {  // 2^-14, the least normal half
    half = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  } else {
    // Around 0.5 a float counts units of 2^-24, as a subnormal half does: the addition rounds to them.
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace thermocline
