// 32 weights of any block format, unpacked: element i is d * scale[i / 16] * quants[i] - minimum_d * minimum. What the
// formats mean is said here, once, in plain code; other instruction sets are held against it.
#pragma once

#include <cstring>

#include "blocks.h"
#include "half.h"

namespace thermocline {

struct SubBlock {
  float d = 0;
  int scale[2] = {1, 1};
  float minimum_d = 0;
  int minimum = 0;
  int8_t quants[kBlock];
};

namespace block_formats {

inline float half_at(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return from_f16(bits);
}

// Sub-block `index`'s 6-bit scale and minimum from the 12 bytes that hold eight of each: the first four lie in the low
// six bits of bytes 0..3 and 4..7; of the others the low four bits in bytes 8..11, the high two atop the first four.
inline void scale_and_minimum(const uint8_t* packed, size_t index, int& scale, int& minimum) {
  if (index < 4) {
    scale = packed[index] & 63;
    minimum = packed[index + 4] & 63;
  } else {
    scale = (packed[index + 4] & 15) | (packed[index - 4] >> 6 << 4);
    minimum = (packed[index + 4] >> 4) | (packed[index] >> 6 << 4);
  }
}

struct Q8_0 {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kQ8_0BlockBytes;
  static constexpr size_t kHalvesFirst = 1, kHalvesLast = 0;
  static constexpr bool kHasMinimum = false;
  static SubBlock unpack(const uint8_t* block, size_t) {
    SubBlock sub;
    sub.d = half_at(block);
    std::memcpy(sub.quants, block + kWeightQuants, kBlock);
    return sub;
  }
};

struct Q4_0 {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kQ4_0BlockBytes;
  static constexpr size_t kHalvesFirst = 1, kHalvesLast = 0;
  static constexpr bool kHasMinimum = false;
  static SubBlock unpack(const uint8_t* block, size_t) {
    SubBlock sub;
    sub.d = half_at(block);
    for (size_t i = 0; i < kBlock / 2; ++i) {
      const uint8_t both = block[kWeightQuants + i];
      sub.quants[i] = static_cast<int8_t>((both & 15) - 8);
      sub.quants[i + kBlock / 2] = static_cast<int8_t>((both >> 4) - 8);
    }
    return sub;
  }
};

// What Q4_K and Q5_K share.
template <size_t Bytes, size_t Quants>
struct WithMinimums {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = Bytes;
  static constexpr size_t kHalvesFirst = 2, kHalvesLast = 0;
  static constexpr bool kHasMinimum = true;
  static SubBlock unpack(const uint8_t* block, size_t index) {
    SubBlock sub;
    sub.d = half_at(block);
    sub.minimum_d = half_at(block + kKScaleOfMinimums);
    scale_and_minimum(block + kKScales, index, sub.scale[0], sub.minimum);
    sub.scale[1] = sub.scale[0];
    const uint8_t* low = block + Quants + index / 2 * kBlock;
    for (size_t i = 0; i < kBlock; ++i) sub.quants[i] = static_cast<int8_t>(index % 2 ? low[i] >> 4 : low[i] & 15);
    return sub;
  }
};

using Q4_K = WithMinimums<kQ4_KBlockBytes, kQ4_KQuants>;

struct Q5_K : WithMinimums<kQ5_KBlockBytes, kQ5_KQuants> {
  static SubBlock unpack(const uint8_t* block, size_t index) {
    SubBlock sub = WithMinimums::unpack(block, index);
    for (size_t i = 0; i < kBlock; ++i) {
      const int high = block[kQ5_KHighBits + i] >> index & 1;
      sub.quants[i] = static_cast<int8_t>(sub.quants[i] | high << 4);
    }
    return sub;
  }
};

struct Q6_K {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = kQ6_KBlockBytes;
  static constexpr size_t kHalvesFirst = 0, kHalvesLast = 1;
  static constexpr bool kHasMinimum = false;
  static SubBlock unpack(const uint8_t* block, size_t index) {
    SubBlock sub;
    sub.d = half_at(block + kQ6_KScale);
    const size_t half = index / 4, quarter = index % 4;
    const uint8_t* low = block + half * (kSuperBlock / 4) + quarter % 2 * kBlock;
    const uint8_t* high = block + kQ6_KHighBits + half * (kSuperBlock / 8);
    for (size_t i = 0; i < 2; ++i) sub.scale[i] = static_cast<int8_t>(block[kQ6_KScales + 2 * index + i]);
    for (size_t i = 0; i < kBlock; ++i) {
      const int four = quarter < 2 ? low[i] & 15 : low[i] >> 4;
      const int two = high[i] >> (2 * quarter) & 3;
      sub.quants[i] = static_cast<int8_t>((four | two << 4) - kQ6_KZero);
    }
    return sub;
  }
};

// Calls visit(offset, bytes) for the pieces of a block that a panel's rows take turns with, in their order.
template <class Format, class Visit>
void for_each_piece(const Visit& visit) {
  constexpr size_t kHalf = sizeof(uint16_t);
  constexpr size_t kBegin = Format::kHalvesFirst * kHalf, kEnd = Format::kBytes - Format::kHalvesLast * kHalf;
  static_assert((kEnd - kBegin) % kPanelPiece == 0);
  for (size_t at = 0; at < kBegin; at += kHalf) visit(at, kHalf);
  for (size_t at = kBegin; at < kEnd; at += kPanelPiece) visit(at, kPanelPiece);
  for (size_t at = kEnd; at < Format::kBytes; at += kHalf) visit(at, kHalf);
}

}  // namespace block_formats
}  // namespace thermocline
