// Four floats that go through the same arithmetic side by side: the searches for scales add up each part of a block in
// the elements' order, as ggml does, and gain their speed from looking at four parts at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thermocline::formats {

inline constexpr size_t kLanes = 4;
// What GCC and Clang turn into SSE registers.
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using LaneMask = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Lanes all_lanes(float value) { return Lanes{value, value, value, value}; }

// Where the mask holds, and elsewhere.
inline Lanes select(LaneMask mask, Lanes held, Lanes otherwise) { return mask ? held : otherwise; }

inline Lanes magnitude(Lanes x) { return select(x < all_lanes(0), -x, x); }

// The nearest whole number, ties to even, of a value below 2^22: floats from 2^23 on have no fraction.
inline Lanes nearest(Lanes value) {
  const Lanes shift = all_lanes(0x1.8p23f);
  return (value + shift) - shift;
}

// The nearest whole number within [least, most], two whole numbers; NaN counts as least.
inline Lanes nearest_within(Lanes value, float least, float most) {
  const Lanes raised = select(value > all_lanes(least), value, all_lanes(least));
  return nearest(select(raised < all_lanes(most), raised, all_lanes(most)));
}

// Element i of part p is lanes[i][p]; parts of `elements` elements lie one behind another.
template <size_t elements>
void spread(const float* x, Lanes (&lanes)[elements]) {
  for (size_t i = 0; i < elements; ++i) {
    for (size_t p = 0; p < kLanes; ++p) lanes[i][p] = x[p * elements + i];
  }
}

}  // namespace thermocline::formats
