// softmax(q · K) · V of a step's rows over the cache: the bits of cpu/causal_attention.h.
#pragma once

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

namespace detail {

template <unsigned Heads>
void launch_attention(Stream stream, const AttentionRows& work, unsigned heads_of_block, unsigned blocks_of_group,
                      const ChunkResults& results) {
  const Launch shape{{work.rows * work.cache.kv_heads * blocks_of_group, results.chunks},
                     kChunkThreads,
                     chunk_memory_bytes(heads_of_block, work.cache.head_dim)};
  const bool pieces = work.cache.head_dim * sizeof(uint16_t) % sizeof(Piece) == 0;
  launch(stream, pieces ? attend_chunk<Heads, true> : attend_chunk<Heads, false>, shape, work, heads_of_block,
         blocks_of_group, results);
}

inline void attend(Stream stream, const AttentionRows& work, const ChunkResults& results, float* out) {
  const unsigned group = work.heads / work.cache.kv_heads;
  const unsigned blocks = (group + kMostHeadsOfBlock - 1) / kMostHeadsOfBlock;
  const unsigned together = (group + blocks - 1) / blocks;
  if (together > 4) launch_attention<8>(stream, work, together, blocks, results);
  else if (together > 2) launch_attention<4>(stream, work, together, blocks, results);
  else if (together > 1) launch_attention<2>(stream, work, together, blocks, results);
  else launch_attention<1>(stream, work, together, blocks, results);
  constexpr unsigned kThreads = 128;
  const unsigned all = work.rows * work.heads * work.cache.head_dim;
  launch(stream, merge_chunks, {{(all + kThreads - 1) / kThreads}, kThreads}, results, work.step_rows, work.rows,
         work.heads, work.cache.head_dim, out);
}

}  // namespace detail

// q and out are [rows][heads][head_dim]; the rows' own keys and values are in the cache. Every row's position is below
// `positions`. What is launched follows from `rows`, `positions` and the scratch alone, so that a graph of it serves
// every step of as many rows; positions and slots are read on the card. All memory is the card's, at multiples of 16.
inline void attention(Stream stream, const CardCache& cache, unsigned layer, unsigned heads, const StepRow* step_rows,
                      unsigned rows, unsigned positions, const float* q, float* out, const AttentionScratch& scratch) {
  const unsigned chunks = static_cast<unsigned>(chunks_of(positions));
  const size_t row_size = size_t{heads} * cache.head_dim;
  auto* totals = reinterpret_cast<ChunkTotal*>(scratch.data);
  auto* sums = reinterpret_cast<float*>(totals + size_t{scratch.rows} * heads * chunks);
  for (unsigned first = 0; first < rows; first += scratch.rows) {
    const unsigned some = rows - first < scratch.rows ? rows - first : scratch.rows;
    detail::attend(stream,
                   {cache, layer, heads, step_rows + first, some, q + first * row_size, score_scale(cache.head_dim)},
                   {totals, sums, chunks}, out + first * row_size);
  }
}

}  // namespace thermocline::cuda
