#include "attention.h"

namespace thermocline::cuda {
namespace {

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

void attend(Stream stream, const AttentionRows& work, const ChunkResults& results, float* out) {
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

}  // namespace

void attention(Stream stream, const CardCache& cache, unsigned layer, unsigned heads, const StepRow* step_rows,
               unsigned rows, unsigned positions, const float* q, float* out, const AttentionScratch& scratch) {
  const unsigned chunks = static_cast<unsigned>(chunks_of(positions));
  const size_t row_size = size_t{heads} * cache.head_dim;
  auto* totals = reinterpret_cast<ChunkTotal*>(scratch.data);
  auto* sums = reinterpret_cast<float*>(totals + size_t{scratch.rows} * heads * chunks);
  for (unsigned first = 0; first < rows; first += scratch.rows) {
    const unsigned some = rows - first < scratch.rows ? rows - first : scratch.rows;
    attend(stream,
                   {cache, layer, heads, step_rows + first, some, q + first * row_size, score_scale(cache.head_dim)},
                   {totals, sums, chunks}, out + first * row_size);
  }
}

}  // namespace thermocline::cuda
