// How a row's attention is divided and added up, the same on every device.
//
// The positions a row sees go in chunks, from position 0 on. A chunk has, of its scores (query · key, times
// score_scale()), the largest one m; of its weights e^(score - m) the total, in f64; and the sum of its values under
// these weights, added one position after the other with fused multiply-adds. The total's lane i takes the weights of
// positions i, i + kTotalLanes, ...; lanes are then halved until one is left, each added to the one half of them on.
// Chunks are merged in ascending order: with M the largest m, each chunk's total and sums are multiplied by e^(m - M),
// rounded, and added. The sums are then multiplied by 1 / total, in f64, and rounded to f32.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace thermocline {

// A card gives each chunk a block of threads, two a position, so that all its keys are asked for at once; 8 heads of
// keys and 1,000 positions then make 64 blocks. Keys, or values, of 128 positions of 128 dimensions are 32 KiB: on a CPU
// they stay in a near cache for the heads that share them. Merging adds one position's work to 128.
inline constexpr size_t kChunkPositions = 128;

// A warp's.
inline constexpr size_t kTotalLanes = 32;

constexpr size_t chunks_of(size_t positions) { return (positions + kChunkPositions - 1) / kChunkPositions; }

inline float score_scale(size_t head_dim) { return 1.0f / std::sqrt(static_cast<float>(head_dim)); }

}  // namespace thermocline
