// Activations into blocks of 8 bits: the bits of Kernels::quantize (kernels.h).
#pragma once

#include "../../kernels/kernels.h"
#include "elements.h"

namespace thermocline::cuda {

// Of four elements each, as a thread quantizes them.
inline constexpr unsigned kLanesOfBlock = kBlock / 4;

// Eight lanes next to each other quantize a block, four elements each. Every lane of a warp must call it; `wanted` is
// the same for the eight, and y their block where it is true.
THERMOCLINE_DEVICE void quantize_block(const FourFloats& x, bool wanted, Q8Activation* y) {
  constexpr uint32_t kInfinity = 0x7f800000u, kNaN = 0x7fc00000u;
  const unsigned lane = lane_index();
  // Bits of |x| are ordered as the numbers are, with infinity and then the NaNs above all others.
  uint32_t largest_bits = 0;
  for (const float value : x.values) {
    const uint32_t magnitude = bits_of(value) & 0x7fffffffu;
    if (magnitude > largest_bits) largest_bits = magnitude;
  }
  for (unsigned distance = kLanesOfBlock / 2; distance > 0; distance /= 2) {
    const uint32_t other = from_lane(largest_bits, lane ^ distance);
    if (other > largest_bits) largest_bits = other;
  }
  const float largest = float_of(largest_bits);
  float scale = 0;
  uint32_t quants = 0;
  if (largest_bits >= kInfinity) {
    scale = float_of(kNaN);
  } else if (largest >= kLeastQuantized) {
    scale = largest / 127.0f;
    const float inverse = 127.0f / largest;
    for (unsigned i = 0; i < 4; ++i) {
      const int quant = static_cast<int>(rintf(x.values[i] * inverse));
      quants |= (static_cast<uint32_t>(quant) & 0xff) << 8 * i;
    }
  }
  int sum = dot4(quants, 0x01010101, 0);
  for (unsigned distance = kLanesOfBlock / 4; distance > 0; distance /= 2) sum += from_lane(sum, lane ^ distance);
  if (!wanted) return;
  const unsigned part = lane % kLanesOfBlock;
  reinterpret_cast<uint32_t*>(y->quants)[part] = quants;
  if (part % 4 == 0) y->sums[part / 4] = static_cast<int16_t>(sum);
  if (part == 0) y->scale = scale;
}

THERMOCLINE_DEVICE float rectified(float x) { return x < 0 ? 0 : x; }

template <bool Rectify>
THERMOCLINE_KERNEL void quantize_all(const FourFloats* x, unsigned fours, Q8Activation* y) {
  const unsigned at = element_index();
  const bool wanted = at < fours;
  FourFloats four = wanted ? x[at] : FourFloats{};
  if (Rectify) {
    for (float& value : four.values) value = rectified(value);
  }
  quantize_block(four, wanted, y + at / kLanesOfBlock);
}

// y [rows][cols / 32] from x [rows][cols], of which negative numbers count as 0 where `rectify`.
inline void quantize(Stream stream, const float* x, unsigned rows, unsigned cols, bool rectify, Q8Activation* y) {
  const unsigned fours = rows * (cols / 4);
  launch(stream, rectify ? quantize_all<true> : quantize_all<false>, by_element(fours),
         reinterpret_cast<const FourFloats*>(x), fours, y);
}

}  // namespace thermocline::cuda
