// Where things lie in the 32-element blocks, in bytes from a block's start. Blocks are read through these offsets
// rather than as structs because a row may start at any address.
#pragma once

#include <cstddef>

#include "kernels.h"

namespace thermocline {

// A weight block of either type starts with its f16 scale.
inline constexpr size_t kWeightQuants = 2;
inline constexpr size_t kQ8_0BlockBytes = kWeightQuants + kBlock;
inline constexpr size_t kQ4_0BlockBytes = kWeightQuants + kBlock / 2;
// The K-quants' blocks: scales, minimums and quants, as ggml's block_q4_K, block_q5_K and block_q6_K lay them out.
inline constexpr size_t kQ4_KBlockBytes = 2 + 2 + 12 + kSuperBlock / 2;
inline constexpr size_t kQ5_KBlockBytes = kQ4_KBlockBytes + kSuperBlock / 8;
inline constexpr size_t kQ6_KBlockBytes = kSuperBlock / 2 + kSuperBlock / 4 + kSuperBlock / 16 + 2;

inline constexpr size_t kActivationQuants = offsetof(Q8Activation, quants);
inline constexpr size_t kActivationBytes = sizeof(Q8Activation);
static_assert(offsetof(Q8Activation, scale) == 0 && kActivationBytes == sizeof(float) + kBlock);

}  // namespace thermocline
