// Rows of blocks as sums over neurons take them: quants word by word, four or eight columns each, and what they are
// multiplied with. A piece of 16 bytes of quants holds kGroups groups of 16 columns; a word of it four columns of each.
#pragma once

#include "terms.h"

namespace thermocline::cuda {

// What a thread reads of a row at a time.
struct QuantWord {
  uint32_t low, high;  // high bits of formats that keep them apart
};

// What a quant is multiplied with, and, where a format has minimums, what is taken off the product.
struct QuantScale {
  float scale, minimum;
};

// Signed bytes from unsigned ones that are `zero` too large, none of them above 127.
THERMOCLINE_DEVICE uint32_t less_zero(uint32_t bytes, uint32_t zero) {
  return ((bytes | 0x80808080) - zero * 0x01010101) ^ 0x80808080;
}

// A piece of quants: the columns of its groups, and, read from a row, its words and scales. of() is the piece that holds
// sixteen columns, the row's index-th, and group_of() their group in it; each kAlike columns have the same scale.
template <WeightType Type>
struct QuantPiece;

template <>
struct QuantPiece<WeightType::q8_0> {
  static constexpr WeightType kType = WeightType::q8_0;
  static constexpr unsigned kGroups = 1, kPieces = 2;  // of quants, a block
  static constexpr unsigned kAlike = 32;
  static constexpr bool kHasMinimum = false;
  unsigned block, plane;

  THERMOCLINE_DEVICE static QuantPiece of(unsigned index) { return {index / 2, index % 2}; }
  THERMOCLINE_DEVICE static unsigned group_of(unsigned) { return 0; }
  THERMOCLINE_DEVICE unsigned first_column(unsigned) const { return block * 32 + plane * 16; }
  THERMOCLINE_DEVICE QuantWord word(const RowOfBlocks<kType>& row, unsigned index) const {
    return {row.word(plane, block, index), 0};
  }
  THERMOCLINE_DEVICE uint32_t quants(const QuantWord& word, unsigned) const { return word.low; }
  THERMOCLINE_DEVICE QuantScale scale(const RowOfBlocks<kType>& row, unsigned) const { return {row.scale(block), 0}; }
};

template <>
struct QuantPiece<WeightType::q4_0> {
  static constexpr WeightType kType = WeightType::q4_0;
  static constexpr unsigned kGroups = 2, kPieces = 1, kAlike = 32;
  static constexpr bool kHasMinimum = false;
  unsigned block, plane;

  THERMOCLINE_DEVICE static QuantPiece of(unsigned index) { return {index / 2, 0}; }
  THERMOCLINE_DEVICE static unsigned group_of(unsigned index) { return index % 2; }
  THERMOCLINE_DEVICE unsigned first_column(unsigned group) const { return block * 32 + group * 16; }
  THERMOCLINE_DEVICE QuantWord word(const RowOfBlocks<kType>& row, unsigned index) const {
    return {row.word(0, block, index), 0};
  }
  THERMOCLINE_DEVICE uint32_t quants(const QuantWord& word, unsigned group) const {
    return less_zero(word.low >> 4 * group & kNibbles, 8);
  }
  THERMOCLINE_DEVICE QuantScale scale(const RowOfBlocks<kType>& row, unsigned) const { return {row.scale(block), 0}; }
};

// Of Q4_K and Q5_K: of each two sub-blocks' nibbles two pieces, the first sixteen columns' and the last.
template <WeightType Type>
struct PieceWithMinimums {
  static constexpr WeightType kType = Type;
  static constexpr unsigned kGroups = 2, kPieces = 8, kAlike = 32;
  static constexpr bool kHasMinimum = true;
  unsigned block, plane;

  THERMOCLINE_DEVICE static QuantPiece<Type> of(unsigned index) {
    return {index / 16, index % 16 / 4 * 2 + index % 2};
  }
  THERMOCLINE_DEVICE static unsigned group_of(unsigned index) { return index / 2 % 2; }
  THERMOCLINE_DEVICE unsigned sub(unsigned group) const { return plane / 2 * 2 + group; }
  THERMOCLINE_DEVICE unsigned first_column(unsigned group) const {
    return block * 256 + sub(group) * 32 + plane % 2 * 16;
  }
  THERMOCLINE_DEVICE QuantScale scale(const RowOfBlocks<kType>& row, unsigned group) const {
    const KHeader header{row.piece(0, block)};
    return {header.d() * static_cast<float>(header.scale(sub(group))),
            header.minimum_d() * static_cast<float>(header.minimum(sub(group)))};
  }
};

template <>
struct QuantPiece<WeightType::q4_k> : PieceWithMinimums<WeightType::q4_k> {
  THERMOCLINE_DEVICE QuantWord word(const RowOfBlocks<kType>& row, unsigned index) const {
    return {row.word(kQ4_KQuants / kPieceBytes + plane, block, index), 0};
  }
  THERMOCLINE_DEVICE uint32_t quants(const QuantWord& word, unsigned group) const {
    return word.low >> 4 * group & kNibbles;
  }
};

template <>
struct QuantPiece<WeightType::q5_k> : PieceWithMinimums<WeightType::q5_k> {
  THERMOCLINE_DEVICE QuantWord word(const RowOfBlocks<kType>& row, unsigned index) const {
    return {row.word(kQ5_KQuants / kPieceBytes + plane, block, index),
            row.word(kQ5_KHighBits / kPieceBytes + plane % 2, block, index)};
  }
  THERMOCLINE_DEVICE uint32_t quants(const QuantWord& word, unsigned group) const {
    return (word.low >> 4 * group & kNibbles) | (word.high >> sub(group) & 0x01010101) << 4;
  }
};

template <>
struct QuantPiece<WeightType::q6_k> {
  static constexpr WeightType kType = WeightType::q6_k;
  static constexpr unsigned kGroups = 2, kPieces = 8, kAlike = 16;
  static constexpr bool kHasMinimum = false;
  unsigned block, plane;

  THERMOCLINE_DEVICE static QuantPiece of(unsigned index) {
    return {index / 16, index % 16 / 8 * 4 + index % 4};
  }
  THERMOCLINE_DEVICE static unsigned group_of(unsigned index) { return index / 4 % 2; }
  THERMOCLINE_DEVICE unsigned half() const { return plane / 4; }
  THERMOCLINE_DEVICE unsigned quarter(unsigned group) const { return plane % 4 / 2 + 2 * group; }
  THERMOCLINE_DEVICE unsigned first_column(unsigned group) const {
    return block * 256 + half() * 128 + quarter(group) * 32 + plane % 2 * 16;
  }
  THERMOCLINE_DEVICE QuantWord word(const RowOfBlocks<kType>& row, unsigned index) const {
    return {row.word(plane, block, index), row.word(unsigned{kQ6_KHighBits / kPieceBytes} + half() * 2 + plane % 2, block, index)};
  }
  THERMOCLINE_DEVICE uint32_t quants(const QuantWord& word, unsigned group) const {
    const uint32_t six = (word.low >> 4 * group & kNibbles) | (word.high >> 2 * quarter(group) & 0x03030303) << 4;
    return less_zero(six, kQ6_KZero);
  }
  THERMOCLINE_DEVICE QuantScale scale(const RowOfBlocks<kType>& row, unsigned group) const {
    const Piece scales = row.piece(kQ6_KScales / kPieceBytes, block);
    const unsigned index = half() * 8 + quarter(group) * 2 + plane % 2;
    return {row.scale(block) * static_cast<float>(static_cast<int8_t>(byte_of(scales, index))), 0};
  }
};

}  // namespace thermocline::cuda
