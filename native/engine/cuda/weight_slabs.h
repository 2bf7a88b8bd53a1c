// Quantized weights on their way to the tensor cores: as signed bytes, in slabs of 256 columns, of which four threads a
// row bring two sub-blocks of 32 each. They read 64 bytes side by side where the row's layout has them.
#pragma once

#include "terms.h"

namespace thermocline::cuda {

inline constexpr unsigned kSlabSubs = 8;
inline constexpr unsigned kSlabParts = 4;

template <WeightType Type>
inline constexpr bool kHasMinimum = Type == WeightType::q4_k || Type == WeightType::q5_k;
// Whether the two halves of a sub-block have scales of their own.
template <WeightType Type>
inline constexpr bool kHasHalves = Type == WeightType::q6_k;

// Numbers that go with a sub-block, in their order: its scale; then its minimum or its two halves' scales, if any.
// Each is the product of what terms.h multiplies one after the other with the integer. That gives the same bits: all
// but the last product are exact in f32 (11 bits of an f16 times 6 of a scale, or 24 of an integer), so that the one
// rounding is of the same number.
template <WeightType Type>
inline constexpr unsigned kSubScales = kHasMinimum<Type> ? 2 : kHasHalves<Type> ? 3 : 1;

// Weights of fewer than eight bits with their zero in the middle are put into a byte's upper bits, where turning the
// first one over subtracts that zero; their scales are smaller by as much.
inline constexpr uint32_t kFirstBits = 0x80808080;

// A thread's two sub-blocks of a slab.
template <WeightType Type>
struct SlabPart;

// Blocks of 32: part p has the sub-blocks p and p + 4.
template <WeightType Type>
struct PartOfBlocks {
  static constexpr unsigned kPieces = card_block(Type).pieces;

  Piece pieces[2][kPieces]{};
  uint16_t halves[2]{};

  THERMOCLINE_DEVICE static unsigned sub(unsigned part, unsigned i) { return part + kSlabParts * i; }
  // What lies behind the row's end stays as it was.
  THERMOCLINE_DEVICE void load(const RowOfBlocks<Type>& row, unsigned slab, unsigned part) {
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned block = slab * kSlabSubs + sub(part, i);
      if (block >= row.blocks) continue;
      for (unsigned p = 0; p < kPieces; ++p) pieces[i][p] = *row.at(p, block);
      halves[i] = row.scales()[block];
    }
  }
};

template <>
struct SlabPart<WeightType::q8_0> : PartOfBlocks<WeightType::q8_0> {
  THERMOCLINE_DEVICE Piece quants(unsigned, unsigned i, unsigned half) const { return pieces[i][half]; }
  THERMOCLINE_DEVICE void scales(unsigned, unsigned i, float (&to)[1]) const { to[0] = half_to_float(halves[i]); }
};

template <>
struct SlabPart<WeightType::q4_0> : PartOfBlocks<WeightType::q4_0> {
  THERMOCLINE_DEVICE Piece quants(unsigned, unsigned i, unsigned half) const {
    Piece quants;
    for (unsigned w = 0; w < 4; ++w) {
      const uint32_t both = pieces[i][0].words[w];
      quants.words[w] = ((half == 0 ? both << 4 : both) & ~kNibbles) ^ kFirstBits;
    }
    return quants;
  }
  THERMOCLINE_DEVICE void scales(unsigned, unsigned i, float (&to)[1]) const {
    to[0] = half_to_float(halves[i]) * (1.0f / 16);
  }
};

// Blocks of 256 with minimums: part p has the sub-blocks 2p and 2p + 1, the low nibbles of 32 bytes and the high ones.
// `Low` is the plane of the first nibbles, HighBits whether there is a fifth bit.
template <WeightType Type, unsigned Low, bool HighBits>
struct PartWithMinimums {
  Piece header{}, low[2]{}, high[2]{};

  THERMOCLINE_DEVICE static unsigned sub(unsigned part, unsigned i) { return 2 * part + i; }
  THERMOCLINE_DEVICE void load(const RowOfBlocks<Type>& row, unsigned slab, unsigned part) {
    header = *row.at(0, slab);
    for (unsigned p = 0; p < 2; ++p) {
      low[p] = *row.at(Low + 2 * part + p, slab);
      if (HighBits) high[p] = *row.at(kQ5_KHighBits / kPieceBytes + p, slab);
    }
  }
  THERMOCLINE_DEVICE Piece quants(unsigned part, unsigned i, unsigned half) const {
    Piece quants;
    for (unsigned w = 0; w < 4; ++w) {
      quants.words[w] = low[half].words[w] >> 4 * i & kNibbles;
      if (HighBits) quants.words[w] |= (high[half].words[w] >> sub(part, i) & 0x01010101) << 4;
    }
    return quants;
  }
  THERMOCLINE_DEVICE void scales(unsigned part, unsigned i, float (&to)[2]) const {
    const KHeader k{header};
    to[0] = k.d() * static_cast<float>(k.scale(sub(part, i)));
    to[1] = k.minimum_d() * static_cast<float>(k.minimum(sub(part, i)));
  }
};

template <>
struct SlabPart<WeightType::q4_k> : PartWithMinimums<WeightType::q4_k, kQ4_KQuants / kPieceBytes, false> {};
template <>
struct SlabPart<WeightType::q5_k> : PartWithMinimums<WeightType::q5_k, kQ5_KQuants / kPieceBytes, true> {};

// Part p has two quarters of one half of a block of 256: the low nibbles of 32 bytes and the high ones.
template <>
struct SlabPart<WeightType::q6_k> {
  Piece low[2]{}, high[2]{};
  uint32_t fours[2]{};  // each half's four scales, of which a part wants two
  uint16_t d = 0;

  THERMOCLINE_DEVICE static unsigned sub(unsigned part, unsigned i) { return part / 2 * 4 + part % 2 + 2 * i; }
  THERMOCLINE_DEVICE void load(const RowOfBlocks<WeightType::q6_k>& row, unsigned slab, unsigned part) {
    for (unsigned p = 0; p < 2; ++p) {
      low[p] = *row.at(part * 2 + p, slab);
      high[p] = *row.at(kQ6_KHighBits / kPieceBytes + part / 2 * 2 + p, slab);
      fours[p] = row.at(kQ6_KScales / kPieceBytes, slab)->words[sub(part, p) / 2];
    }
    d = row.scales()[slab];
  }
  THERMOCLINE_DEVICE Piece quants(unsigned part, unsigned i, unsigned half) const {
    const unsigned shift = 2 * (part % 2 + 2 * i);
    Piece quants;
    for (unsigned w = 0; w < 4; ++w) {
      const uint32_t four = low[half].words[w] >> 4 * i & kNibbles;
      const uint32_t two = high[half].words[w] >> shift & 0x03030303;
      quants.words[w] = (four << 2 | two << 6) ^ kFirstBits;
    }
    return quants;
  }
  THERMOCLINE_DEVICE void scales(unsigned part, unsigned i, float (&to)[3]) const {
    to[0] = half_to_float(d) * (1.0f / 4);
    for (unsigned h = 0; h < 2; ++h) {
      to[1 + h] = static_cast<float>(static_cast<int8_t>(fours[i] >> (part % 2 * 16 + h * 8)));
    }
  }
};

}  // namespace thermocline::cuda
