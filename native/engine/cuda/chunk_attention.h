// Attention's first half, as attention_chunks.h divides it: a block of threads takes a chunk of a row's positions, for
// heads that share their keys and values, and leaves what is to be merged.
#pragma once

#include <type_traits>

#include "../../arena/arena.h"
#include "../attention_chunks.h"
#include "card_cache.h"
#include "exponentials.h"

namespace thermocline::cuda {

// Of a chunk's scores and weights.
struct ChunkTotal {
  float highest;
  double total;
};

// What chunks leave: [rows][heads][chunks].
struct ChunkResults {
  ChunkTotal* totals;
  float* sums;  // and [head_dim]
  unsigned chunks;
};

// What rows of a step want of one layer.
struct AttentionRows {
  CardCache cache;
  unsigned layer, heads;
  const StepRow* step_rows;
  unsigned rows;
  const float* q;  // [rows][heads][head_dim]
  float scale;     // of scores
};

// Two threads take a position: its key's columns 0..7 of every sixteen, and 8..15.
inline constexpr unsigned kChunkThreads = 2 * kChunkPositions;
// Heads that a block takes: their 8 sums each leave a thread registers enough.
inline constexpr unsigned kMostHeadsOfBlock = 8;
// Values are read tile by tile; with two blocks a multiprocessor of 64 KiB has room for queries and weights too.
inline constexpr unsigned kTileBytes = 16 << 10;
// Queries of so many dimensions still fit the 48 KiB that a block may have on every card.
inline constexpr unsigned kMostHeadDim = 512;

constexpr unsigned padded_to_lanes(unsigned head_dim) { return (head_dim + 15) / 16 * 16; }
constexpr unsigned tile_positions(unsigned head_dim) {
  const unsigned fit = kTileBytes / (head_dim * static_cast<unsigned>(sizeof(uint16_t)));
  return fit < kChunkPositions ? fit : kChunkPositions;
}

// What a block shares.
struct ChunkMemory {
  float* queries;   // [heads][padded head_dim]; later their sums
  float* weights;   // [heads][kChunkPositions]
  uint32_t* tile;   // [tile_positions][head_dim / 2] pairs of values
};

constexpr size_t chunk_memory_bytes(unsigned heads, unsigned head_dim) {
  return heads * (padded_to_lanes(head_dim) + kChunkPositions) * sizeof(float) +
         size_t{tile_positions(head_dim)} * head_dim * sizeof(uint16_t);
}

THERMOCLINE_DEVICE ChunkMemory chunk_memory(unsigned heads, unsigned head_dim) {
  float* queries = reinterpret_cast<float*>(shared_memory());
  float* weights = queries + heads * padded_to_lanes(head_dim);
  return {queries, weights, reinterpret_cast<uint32_t*>(weights + heads * kChunkPositions)};
}

// Pieces where rows of keys and values start at multiples of 16, else words.
template <bool Pieces>
THERMOCLINE_DEVICE void copy_tile(const uint16_t* values, unsigned positions, unsigned head_dim, uint32_t* tile) {
  using Word = std::conditional_t<Pieces, Piece, uint32_t>;
  const unsigned words = positions * head_dim * static_cast<unsigned>(sizeof(uint16_t)) / sizeof(Word);
  for (unsigned i = thread_index(); i < words; i += kChunkThreads) {
    reinterpret_cast<Word*>(tile)[i] = reinterpret_cast<const Word*>(values)[i];
  }
}

// Eight columns of a key from `column` on, in words of two; what lies beyond the key is 0.
template <bool Pieces>
THERMOCLINE_DEVICE Piece eight_columns(const uint16_t* key, unsigned column, unsigned head_dim) {
  Piece eight{};
  if constexpr (Pieces) {
    if (column < head_dim) eight = *reinterpret_cast<const Piece*>(key + column);
  } else {
    for (unsigned i = 0; i < 4; ++i) {
      if (column + 2 * i < head_dim) eight.words[i] = reinterpret_cast<const uint32_t*>(key + column)[i];
    }
  }
  return eight;
}

// The sixteen lanes' sum, halved four times as in kernels.h, of which a thread has eight and its neighbour the others.
// `theirs` is what the neighbour is to have of this thread's.
THERMOCLINE_DEVICE float total_with_neighbour(const float (&mine)[8], const float (&theirs)[8]) {
  float lanes[8];
  for (unsigned i = 0; i < 8; ++i) lanes[i] = mine[i] + from_lane(theirs[i], lane_index() ^ 1);
  for (unsigned half = 4; half > 0; half /= 2) {
    for (unsigned i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// weights[h][p] = query h · key p * scale.
template <unsigned Heads, bool Pieces>
THERMOCLINE_DEVICE void score_keys(const uint16_t* keys, unsigned count, unsigned head_dim, float scale, unsigned heads,
                                   const ChunkMemory& memory) {
  const unsigned position = thread_index() / 2, side = thread_index() % 2;
  if (thread_index() / kWarp * (kWarp / 2) >= count) return;  // the whole warp
  float sums[Heads][8] = {};
  if (position < count) {
    const uint16_t* key = keys + size_t{position} * head_dim;
    const unsigned padded = padded_to_lanes(head_dim);
    THERMOCLINE_UNROLL_BY(Heads > 2 ? 2 : 4)
    for (unsigned c = 8 * side; c < padded; c += 16) {
      const Piece eight = eight_columns<Pieces>(key, c, head_dim);
      for (unsigned h = 0; h < Heads; ++h) {
        if (h >= heads) break;
        const FourFloats* query = reinterpret_cast<const FourFloats*>(memory.queries + h * padded + c);
        const FourFloats four[2] = {query[0], query[1]};
        for (unsigned i = 0; i < 8; ++i) {
          const uint32_t two = eight.words[i / 2];
          sums[h][i] = fmaf(i % 2 == 0 ? first_half(two) : second_half(two), four[i / 4].values[i % 4], sums[h][i]);
        }
      }
    }
  }
  const auto put = [&](unsigned head, float product) {
    if (head < heads && position < count) memory.weights[head * kChunkPositions + position] = product * scale;
  };
  if constexpr (Heads == 1) {
    const float product = total_with_neighbour(sums[0], sums[0]);
    if (side == 0) put(0, product);
  } else {
    // Each of two threads adds up one of two heads.
    for (unsigned h = 0; h < Heads; h += 2) {
      float mine[8], theirs[8];
      for (unsigned i = 0; i < 8; ++i) {
        mine[i] = side == 0 ? sums[h][i] : sums[h + 1][i];
        theirs[i] = side == 0 ? sums[h + 1][i] : sums[h][i];
      }
      put(h + side, total_with_neighbour(mine, theirs));
    }
  }
}

// A warp turns a head's scores into weights. Every lane of it must call this; the first one has the result.
THERMOCLINE_DEVICE ChunkTotal to_weights(float* scores, unsigned count) {
  static_assert(kTotalLanes == kWarp);
  const unsigned lane = lane_index();
  float highest = -INFINITY;
  for (unsigned p = lane; p < count; p += kWarp) highest = fmaxf(highest, scores[p]);
  for (unsigned half = kWarp / 2; half > 0; half /= 2) highest = fmaxf(highest, from_lane(highest, lane + half));
  double total = 0;
  for (unsigned p = lane; p < count; p += kWarp) {
    const float weight = exp_minus(scores[p], highest);
    scores[p] = weight;
    total += weight;
  }
  for (unsigned half = kWarp / 2; half > 0; half /= 2) total += from_lane(total, lane + half);
  return {highest, total};
}

// Adds a tile's values, weighted, to the heads' sums; a thread takes pairs of columns.
THERMOCLINE_DEVICE void add_tile(const ChunkMemory& memory, unsigned first, unsigned positions, unsigned heads,
                                 unsigned head_dim) {
  const unsigned pairs = head_dim / 2;
  for (unsigned i = thread_index(); i < heads * pairs; i += kChunkThreads) {
    const unsigned head = i / pairs, pair = i % pairs;
    const float* weights = memory.weights + head * kChunkPositions + first;
    float* sums = memory.queries + head * padded_to_lanes(head_dim) + 2 * pair;
    float a = first == 0 ? 0 : sums[0], b = first == 0 ? 0 : sums[1];
    for (unsigned p = 0; p < positions; ++p) {
      const uint32_t two = memory.tile[p * pairs + pair];
      a = fmaf(weights[p], first_half(two), a);
      b = fmaf(weights[p], second_half(two), b);
    }
    sums[0] = a;
    sums[1] = b;
  }
}

// Blocks: x counts rows, so that those of a prompt read the same keys one after the other, then heads; y counts chunks.
// `heads_of_block` heads of a group that shares keys and values go together, in `blocks_of_group` blocks.
template <unsigned Heads, bool Pieces>
THERMOCLINE_KERNEL void attend_chunk(AttentionRows work, unsigned heads_of_block, unsigned blocks_of_group,
                                     ChunkResults results) {
  const unsigned row = block_index().x % work.rows, chunk = block_index().y;
  const StepRow at = work.step_rows[row];
  const unsigned first = chunk * static_cast<unsigned>(kChunkPositions);
  const unsigned seen = static_cast<unsigned>(at.position) + 1;
  if (first >= seen) return;
  const unsigned count = seen - first < kChunkPositions ? seen - first : static_cast<unsigned>(kChunkPositions);
  const unsigned group = work.heads / work.cache.kv_heads, head_dim = work.cache.head_dim;
  const unsigned block = block_index().x / work.rows, of_group = block % blocks_of_group * heads_of_block;
  const unsigned kv_head = block / blocks_of_group, first_head = kv_head * group + of_group;
  const unsigned heads = group - of_group < heads_of_block ? group - of_group : heads_of_block;
  const unsigned slot = static_cast<unsigned>(at.slot);
  const uint16_t* keys = work.cache.keys(slot, work.layer, kv_head) + size_t{first} * head_dim;
  const uint16_t* values = work.cache.values(slot, work.layer, kv_head) + size_t{first} * head_dim;
  const ChunkMemory memory = chunk_memory(heads_of_block, head_dim);

  const unsigned padded = padded_to_lanes(head_dim);
  const float* q = work.q + (size_t{row} * work.heads + first_head) * head_dim;
  for (unsigned i = thread_index(); i < heads * padded; i += kChunkThreads) {
    const unsigned head = i / padded, column = i % padded;
    memory.queries[i] = column < head_dim ? q[head * head_dim + column] : 0;
  }
  sync_threads();
  // The first values are on their way while keys are multiplied.
  const unsigned tile = tile_positions(head_dim);
  copy_tile<Pieces>(values, tile < count ? tile : count, head_dim, memory.tile);
  score_keys<Heads, Pieces>(keys, count, head_dim, work.scale, heads, memory);
  sync_threads();
  const size_t result = (size_t{row} * work.heads + first_head) * results.chunks + chunk;
  for (unsigned head = thread_index() / kWarp; head < heads; head += kChunkThreads / kWarp) {
    const ChunkTotal total = to_weights(memory.weights + head * kChunkPositions, count);
    if (lane_index() == 0) results.totals[result + size_t{head} * results.chunks] = total;
  }
  sync_threads();
  for (unsigned done = 0; done < count; done += tile) {
    const unsigned positions = count - done < tile ? count - done : tile;
    if (done > 0) {
      sync_threads();
      copy_tile<Pieces>(values + size_t{done} * head_dim, positions, head_dim, memory.tile);
      sync_threads();
    }
    add_tile(memory, done, positions, heads, head_dim);
  }
  sync_threads();
  for (unsigned i = thread_index(); i < heads * head_dim; i += kChunkThreads) {
    const unsigned head = i / head_dim, column = i % head_dim;
    results.sums[(result + size_t{head} * results.chunks) * head_dim + column] =
        memory.queries[head * padded + column];
  }
}

}  // namespace thermocline::cuda
