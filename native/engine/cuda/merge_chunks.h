// Attention's second half: a row's chunks become one (attention_chunks.h).
#pragma once

#include "chunk_attention.h"

namespace thermocline::cuda {

// out [rows][heads][head_dim], a number a thread.
THERMOCLINE_KERNEL void merge_chunks(ChunkResults results, const StepRow* step_rows, unsigned rows, unsigned heads,
                                     unsigned head_dim, float* out) {
  const unsigned index = block_index().x * block_threads() + thread_index();
  if (index >= rows * heads * head_dim) return;
  const unsigned head = index / head_dim;  // of all rows'
  const unsigned chunks = static_cast<unsigned>(chunks_of(static_cast<size_t>(step_rows[head / heads].position) + 1));
  const ChunkTotal* totals = results.totals + size_t{head} * results.chunks;
  const float* sums = results.sums + size_t{head} * results.chunks * head_dim + index % head_dim;
  float highest = -INFINITY;
  for (unsigned c = 0; c < chunks; ++c) highest = fmaxf(highest, totals[c].highest);
  float sum = 0;
  double total = 0;
  for (unsigned c = 0; c < chunks; ++c) {
    const float share = exp_minus(totals[c].highest, highest);
    total += double{share} * totals[c].total;
    sum += share * sums[size_t{c} * head_dim];
  }
  out[index] = static_cast<float>(sum * (1 / total));
}

}  // namespace thermocline::cuda
