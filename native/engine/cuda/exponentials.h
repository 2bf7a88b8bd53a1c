// e^x of floats, and what is made of it: the bits of the CPU's vector kernels (kernels/vector/exponentials.h says why
// each step is what it is).
#pragma once

#include "target.h"

namespace thermocline::cuda {

THERMOCLINE_DEVICE float exponential(float x) {
  constexpr float kLowest = -87.33654f, kHighest = 88.37626f;
  if (x != x) return x;
  if (x < kLowest) return 0;
  if (x > kHighest) return INFINITY;
  const float n = rintf(x * 1.44269504f);
  float r = fmaf(n, -0.693359375f, x);
  r = fmaf(n, 2.12194440e-4f, r);
  float sum = 1.0f / 5040;
  sum = fmaf(sum, r, 1.0f / 720);
  sum = fmaf(sum, r, 1.0f / 120);
  sum = fmaf(sum, r, 1.0f / 24);
  sum = fmaf(sum, r, 1.0f / 6);
  sum = fmaf(sum, r, 1.0f / 2);
  sum = fmaf(sum, r, 1.0f);
  sum = fmaf(sum, r, 1.0f);
  return sum * float_of(static_cast<uint32_t>(static_cast<int>(n) + 127) << 23);
}

// e^(x - shift)
THERMOCLINE_DEVICE float exp_minus(float x, float shift) { return exponential(x - shift); }

// g / (1 + e^-g) * u
THERMOCLINE_DEVICE float silu_times(float g, float u) { return g / (1.0f + exponential(0.0f - g)) * u; }

}  // namespace thermocline::cuda
