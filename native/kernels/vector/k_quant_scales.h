// The scales of K-quants: bytes of a lane's integer, a lane a row.
#pragma once

#include "dots.h"

namespace thermocline {
namespace {

// The eight 6-bit scales and minimums of a Q4_K or Q5_K block, from the 12 bytes that sub_block.h describes.
template <class Lanes>
struct ScalesAndMinimums {
  using Ints = typename Lanes::Ints;
  Ints scales[2], minimums[2];

  ScalesAndMinimums() = default;
  ScalesAndMinimums(Ints a, Ints b, Ints c) {
    const Ints six = Lanes::splat_byte(0x3f), two = Lanes::splat_byte(0x30);
    scales[0] = Lanes::and_bits(a, six);
    minimums[0] = Lanes::and_bits(b, six);
    scales[1] = Lanes::with_bits(Lanes::low_nibbles(c), Lanes::template move_bits<6, 4>(a), two);
    minimums[1] = Lanes::with_bits(Lanes::high_nibbles(c), Lanes::template move_bits<6, 4>(b), two);
  }
};

// Byte `Index` of every lane in each of its halves.
template <class Lanes, uint32_t Index>
typename Lanes::Ints byte_in_halves(typename Lanes::Ints lanes) {
  return Lanes::template pick<0x80008000u + Index * 0x00010001u>(lanes);
}

// Byte `Index` of every lane as the scale that Dot::times() takes.
template <class Lanes, class Dot, uint32_t Index>
typename Lanes::Ints scale_of(typename Lanes::Ints lanes) {
  if constexpr (Dot::kScaleInHalves) {
    return byte_in_halves<Lanes, Index>(lanes);
  } else {
    return Lanes::template pick<0x80808000u + Index>(lanes);
  }
}

template <class Lanes, class Dot, uint32_t Index>
typename Lanes::Ints signed_scale_of(typename Lanes::Ints lanes) {
  if constexpr (Dot::kScaleInHalves) {
    return Lanes::template shift_halves_right<8>(Lanes::template pick<0x00800080u + Index * 0x01000100u>(lanes));
  } else {
    return Lanes::template shift_right<24>(Lanes::template pick<0x00808080u + Index * 0x01000000u>(lanes));
  }
}

// 32 times signed bytes `Index` and `Index` + 1 of every lane, in its halves.
template <class Lanes, uint32_t Index>
typename Lanes::Ints two_times_32(typename Lanes::Ints lanes) {
  constexpr uint32_t kHighBytes = 0x00800080u + Index * 0x00000100u + (Index + 1) * 0x01000000u;
  static_assert(kQ6_KZero == 1 << 5);
  return Lanes::template shift_halves_right<8 - 5>(Lanes::template pick<kHighBytes>(lanes));
}

}  // namespace
}  // namespace thermocline
