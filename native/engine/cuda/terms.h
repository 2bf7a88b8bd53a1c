// What 32 quantized weights add to a product, from a row as card_rows.h lays it out: the same number, bit for bit, as the
// CPU's kernels (kernels.h). Fused multiply-adds would change it: nvcc must be told not to make any.
#pragma once

#include "card_rows.h"
#include "target.h"

namespace thermocline::cuda {

// Blocks of a row of `blocks` blocks; what at() and scales() point to lies on the card.
template <WeightType Type>
struct RowOfBlocks {
  static constexpr CardBlock kFormat = card_block(Type);
  static constexpr unsigned kSubs = kFormat.elements / kBlock;

  const std::byte* row;
  unsigned blocks;

  THERMOCLINE_DEVICE const Piece* at(unsigned plane, unsigned block) const {
    return reinterpret_cast<const Piece*>(row) + plane * blocks + block;
  }
  THERMOCLINE_DEVICE Piece piece(unsigned plane, unsigned block) const { return read_once(at(plane, block)); }
  THERMOCLINE_DEVICE uint32_t word(unsigned plane, unsigned block, unsigned index) const {
    return read_once(&at(plane, block)->words[index]);
  }
  THERMOCLINE_DEVICE const uint16_t* scales() const {
    return reinterpret_cast<const uint16_t*>(row + size_t{blocks} * kFormat.pieces * kPieceBytes);
  }
  THERMOCLINE_DEVICE float scale(unsigned block) const { return half_to_float(scales()[block]); }
};

// Q8Activation's quants as words of four.
THERMOCLINE_DEVICE uint32_t quants_of(const Q8Activation& x, unsigned word) {
  return reinterpret_cast<const uint32_t*>(x.quants)[word];
}

inline constexpr uint32_t kNibbles = 0x0f0f0f0f;

template <WeightType Type>
THERMOCLINE_DEVICE float weighted_sum(const RowOfBlocks<Type>& row, unsigned index, const Q8Activation& x);

template <>
THERMOCLINE_DEVICE float weighted_sum(const RowOfBlocks<WeightType::q8_0>& row, unsigned index,
                                      const Q8Activation& x) {
  int sum = 0;
  for (unsigned p = 0; p < 2; ++p) {
    const Piece quants = row.piece(p, index);
    for (unsigned w = 0; w < 4; ++w) sum = dot4(quants.words[w], quants_of(x, 4 * p + w), sum);
  }
  return row.scale(index) * static_cast<float>(sum);
}

template <>
THERMOCLINE_DEVICE float weighted_sum(const RowOfBlocks<WeightType::q4_0>& row, unsigned index,
                                      const Q8Activation& x) {
  const Piece quants = row.piece(0, index);
  int sum = -8 * (x.sums[0] + x.sums[1]);
  for (unsigned w = 0; w < 4; ++w) {
    sum = dot4(quants.words[w] & kNibbles, quants_of(x, w), sum);
    sum = dot4(quants.words[w] >> 4 & kNibbles, quants_of(x, 4 + w), sum);
  }
  return row.scale(index) * static_cast<float>(sum);
}

// Byte `index` of a piece. (Chosen word by word: registers cannot be indexed.)
THERMOCLINE_DEVICE unsigned byte_of(const Piece& piece, unsigned index) {
  const uint32_t low = index & 4 ? piece.words[1] : piece.words[0];
  const uint32_t high = index & 4 ? piece.words[3] : piece.words[2];
  return (index & 8 ? high : low) >> index % 4 * 8 & 0xff;
}

// Of Q4_K and Q5_K: the first piece holds d, the minimums' d, and eight scales and minimums of 6 bits (sub_block.h).
struct KHeader {
  Piece piece;

  THERMOCLINE_DEVICE float d() const { return half_to_float(static_cast<uint16_t>(piece.words[0] & 0xffff)); }
  THERMOCLINE_DEVICE float minimum_d() const { return half_to_float(static_cast<uint16_t>(piece.words[0] >> 16)); }
  THERMOCLINE_DEVICE unsigned packed(unsigned index) const { return byte_of(piece, kKScales + index); }
  THERMOCLINE_DEVICE int scale(unsigned sub) const {
    if (sub < 4) return static_cast<int>(packed(sub) & 63);
    return static_cast<int>((packed(sub + 4) & 15) | packed(sub - 4) >> 6 << 4);
  }
  THERMOCLINE_DEVICE int minimum(unsigned sub) const {
    if (sub < 4) return static_cast<int>(packed(sub + 4) & 63);
    return static_cast<int>(packed(sub + 4) >> 4 | packed(sub) >> 6 << 4);
  }
  THERMOCLINE_DEVICE float value(unsigned sub, int sum, const Q8Activation& x) const {
    return d() * static_cast<float>(scale(sub) * sum) -
           minimum_d() * static_cast<float>(minimum(sub) * (x.sums[0] + x.sums[1]));
  }
};

// `low` is the plane of the block's first low nibbles.
template <WeightType Type, bool HighBits>
THERMOCLINE_DEVICE float k_weighted_sum(const RowOfBlocks<Type>& row, unsigned low, unsigned index,
                                        const Q8Activation& x) {
  const unsigned block = index / row.kSubs, sub = index % row.kSubs;
  int sum = 0;
  for (unsigned p = 0; p < 2; ++p) {
    const Piece quants = row.piece(low + sub / 2 * 2 + p, block);
    Piece high{};
    if (HighBits) high = row.piece(kQ5_KHighBits / kPieceBytes + p, block);
    for (unsigned w = 0; w < 4; ++w) {
      uint32_t four = quants.words[w] >> sub % 2 * 4 & kNibbles;
      if (HighBits) four |= (high.words[w] >> sub & 0x01010101) << 4;
      sum = dot4(four, quants_of(x, 4 * p + w), sum);
    }
  }
  return KHeader{row.piece(0, block)}.value(sub, sum, x);
}

template <>
THERMOCLINE_DEVICE float weighted_sum(const RowOfBlocks<WeightType::q4_k>& row, unsigned index,
                                      const Q8Activation& x) {
  return k_weighted_sum<WeightType::q4_k, false>(row, kQ4_KQuants / kPieceBytes, index, x);
}

template <>
THERMOCLINE_DEVICE float weighted_sum(const RowOfBlocks<WeightType::q5_k>& row, unsigned index,
                                      const Q8Activation& x) {
  return k_weighted_sum<WeightType::q5_k, true>(row, kQ5_KQuants / kPieceBytes, index, x);
}

template <>
THERMOCLINE_DEVICE float weighted_sum(const RowOfBlocks<WeightType::q6_k>& row, unsigned index,
                                      const Q8Activation& x) {
  const unsigned block = index / row.kSubs, sub = index % row.kSubs, half = sub / 4, quarter = sub % 4;
  const Piece scales = row.piece(kQ6_KScales / kPieceBytes, block);
  int total = 0;
  for (unsigned p = 0; p < 2; ++p) {
    const Piece low = row.piece(half * 4 + quarter % 2 * 2 + p, block);
    const Piece high = row.piece(unsigned{kQ6_KHighBits / kPieceBytes} + half * 2 + p, block);
    int sum = -kQ6_KZero * x.sums[p];
    for (unsigned w = 0; w < 4; ++w) {
      const uint32_t six = (low.words[w] >> quarter / 2 * 4 & kNibbles) |
                           (high.words[w] >> 2 * quarter & 0x03030303) << 4;
      sum = dot4(six, quants_of(x, 4 * p + w), sum);
    }
    total += static_cast<int8_t>(byte_of(scales, 2 * sub + p)) * sum;
  }
  return row.scale(block) * static_cast<float>(total);
}

// What sub-block `index` of a row adds to its product with a row of activations.
template <WeightType Type>
THERMOCLINE_DEVICE float term(const RowOfBlocks<Type>& row, unsigned index, const Q8Activation& x) {
  return x.scale * weighted_sum<Type>(row, index, x);
}

}  // namespace thermocline::cuda
