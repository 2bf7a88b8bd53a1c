// softmax(q · K) · V of a step's rows over the cache: the bits of cpu/causal_attention.h.
#pragma once

#include <algorithm>
#include <bit>
#include <string>

#include "../../error.h"
#include "../checked.h"
#include "merge_chunks.h"

namespace thermocline::cuda {

// Memory on the card for the chunks of so many rows at a time.
struct AttentionScratch {
  std::byte* data;  // at a multiple of 16
  unsigned rows;
};

// Bytes that attention over positions below `positions` takes for `rows` rows at a time.
inline uint64_t attention_scratch_bytes(unsigned heads, unsigned head_dim, unsigned rows, unsigned positions) {
  return checked_product({rows, heads, chunks_of(positions), sizeof(ChunkTotal) + sizeof(float) * head_dim});
}

// Throws Error `unsupported` naming what attention on a card cannot take.
inline void check_attention(unsigned head_dim, unsigned context_length) {
  if (head_dim % 2 != 0 || head_dim > kMostHeadDim) {
    throw Error(ErrorCode::unsupported,
                "shape.headDim is " + std::to_string(head_dim) + "; attention on a card takes even ones up to " +
                    std::to_string(kMostHeadDim) + ": let a CPU executor own the layers",
                "shape.headDim");
  }
  constexpr size_t kMostChunks = 65535;  // a grid's second extent
  if (chunks_of(context_length) > kMostChunks) {
    throw Error(ErrorCode::unsupported,
                "contextLength is " + std::to_string(context_length) + "; attention on a card takes up to " +
                    std::to_string(kMostChunks * kChunkPositions) + ": use a shorter one",
                "contextLength");
  }
}

// What attention is launched for where rows see `seen` positions: whole chunks, and a power of two of them unless the
// context has fewer. A growing sequence then comes by a few launches, and the blocks that find nothing to do are at most
// as many as the others.
constexpr unsigned launched_positions(unsigned seen, unsigned context_length) {
  return static_cast<unsigned>(
      std::min<size_t>(std::bit_ceil(chunks_of(seen)) * kChunkPositions, context_length));
}

// q and out are [rows][heads][head_dim]; the rows' own keys and values are in the cache. Every row's position is below
// `positions`, which are no more than the scratch is for. What is launched follows from `rows`, `positions` and the scratch alone, so that a graph of it serves
// every step of as many rows; positions and slots are read on the card. All memory is the card's, at multiples of 16.
void attention(Stream stream, const CardCache& cache, unsigned layer, unsigned heads, const StepRow* step_rows,
               unsigned rows, unsigned positions, const float* q, float* out, const AttentionScratch& scratch);

}  // namespace thermocline::cuda
