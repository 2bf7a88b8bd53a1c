// Where things lie in blocks of weights, in bytes from a block's start, and what they mean. Blocks are read through
// these offsets rather than as structs because a row may start at any address.
#pragma once

#include <cstddef>

#include "kernels.h"

namespace thermocline {

// A Q8_0 or Q4_0 block starts with its f16 scale.
inline constexpr size_t kWeightQuants = 2;
inline constexpr size_t kQ8_0BlockBytes = kWeightQuants + kBlock;
inline constexpr size_t kQ4_0BlockBytes = kWeightQuants + kBlock / 2;

// K-quants, as ggml lays them out. Q4_K and Q5_K: f16 scale d, f16 scale of the minimums, 12 bytes of 6-bit scales and
// minimums of eight sub-blocks of 32, then (Q5_K) 32 bytes whose bit s is the fifth bit of sub-block s, then the low
// four bits: of each 32 bytes the low nibbles are one sub-block and the high ones the next.
inline constexpr size_t kSubBlocks = kSuperBlock / kBlock;
inline constexpr size_t kKScaleOfMinimums = 2;
inline constexpr size_t kKScales = 4;
inline constexpr size_t kKScaleBytes = 12;
inline constexpr size_t kQ4_KQuants = kKScales + kKScaleBytes;
inline constexpr size_t kQ4_KBlockBytes = kQ4_KQuants + kSuperBlock / 2;
inline constexpr size_t kQ5_KHighBits = kKScales + kKScaleBytes;
inline constexpr size_t kQ5_KQuants = kQ5_KHighBits + kSuperBlock / 8;
inline constexpr size_t kQ5_KBlockBytes = kQ5_KQuants + kSuperBlock / 2;

// Q6_K: of each half of 128 elements 64 bytes of low four bits (elements 0..63 in the low nibbles, 64..127 in the high
// ones), then of each half 32 bytes of high two bits (element i's in byte i % 32, at bit 2 * (i / 32)), then 16 signed
// scales of sixteen elements each, then the f16 scale d. An element is its six bits minus 32.
inline constexpr size_t kQ6_KHighBits = kSuperBlock / 2;
inline constexpr size_t kQ6_KScales = kQ6_KHighBits + kSuperBlock / 4;
inline constexpr size_t kQ6_KScale = kQ6_KScales + kSuperBlock / 16;
inline constexpr size_t kQ6_KBlockBytes = kQ6_KScale + 2;
inline constexpr int kQ6_KZero = 32;

inline constexpr size_t kActivationSums = offsetof(Q8Activation, sums);
inline constexpr size_t kActivationQuants = offsetof(Q8Activation, quants);
inline constexpr size_t kActivationBytes = sizeof(Q8Activation);
static_assert(offsetof(Q8Activation, scale) == 0 && kActivationBytes == 2 * sizeof(float) + kBlock);

// A panel's pieces of a row, beside the f16s.
inline constexpr size_t kPanelPiece = 4;

}  // namespace thermocline
