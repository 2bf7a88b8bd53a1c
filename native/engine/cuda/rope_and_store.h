// What attention does with a step's queries, keys and values before it looks at any: the bits of cpu/rope_and_store.h.
#pragma once

#include "../rope.h"
#include "card_cache.h"

namespace thermocline::cuda {

struct RotaryShape {
  unsigned heads;
  unsigned turning;  // pairs of a head's leading dimensions
  RopePairs pairs;
};

// A thread takes two dimensions of a head of a row's queries, keys or values, which lie behind each other in its count
// of pairs: two that turn together, or two neighbours of those that do not turn.
THERMOCLINE_KERNEL void rope_and_store_pairs(CardCache cache, unsigned layer, RotaryShape shape,
                                             const StepRow* step_rows, unsigned rows, const Rope::Turn* turns, float* q,
                                             const float* k, const float* v) {
  const unsigned dim = cache.head_dim;
  const unsigned of_row = (shape.heads + 2 * cache.kv_heads) * (dim / 2);
  const unsigned index = block_index().x * block_threads() + thread_index();
  const unsigned row = index / of_row;
  if (row >= rows) return;
  unsigned head = index % of_row / (dim / 2);
  const unsigned pair = index % (dim / 2);
  const bool turns_here = pair < shape.turning;
  const bool halves = turns_here && shape.pairs == RopePairs::halves;
  const unsigned first = halves ? pair : 2 * pair;
  const unsigned second = halves ? pair + shape.turning : 2 * pair + 1;

  const auto turn = [&](float& a, float& b) {
    if (!turns_here) return;
    const Rope::Turn by = turns[row * shape.turning + pair];
    const float turned = a * by.cos - b * by.sin;
    b = a * by.sin + b * by.cos;
    a = turned;
  };
  if (head < shape.heads) {
    float* query = q + (size_t{row} * shape.heads + head) * dim;
    turn(query[first], query[second]);
    return;
  }
  head -= shape.heads;
  const bool is_key = head < cache.kv_heads;
  if (!is_key) head -= cache.kv_heads;
  const float* from = (is_key ? k : v) + (size_t{row} * cache.kv_heads + head) * dim;
  float a = from[first], b = from[second];
  if (is_key) turn(a, b);
  const StepRow at = step_rows[row];
  const unsigned slot = static_cast<unsigned>(at.slot);
  uint16_t* to = is_key ? cache.keys(slot, layer, head) : cache.values(slot, layer, head);
  to += static_cast<size_t>(at.position) * dim;
  to[first] = float_to_half(a);
  to[second] = float_to_half(b);
}

// Rotates q [rows][heads][head_dim] by turns [rows][rope_dims / 2], and puts k [rows][kv_heads][head_dim], rotated too,
// and v into the cache. head_dim is even; all are in the card's memory.
inline void rope_and_store(Stream stream, const CardCache& cache, unsigned layer, const ModelShape& shape,
                           const StepRow* step_rows, unsigned rows, const Rope::Turn* turns, float* q, const float* k,
                           const float* v) {
  constexpr unsigned kThreads = 128;
  const unsigned all = rows * (shape.heads + 2 * cache.kv_heads) * (cache.head_dim / 2);
  launch(stream, rope_and_store_pairs, {{(all + kThreads - 1) / kThreads}, kThreads}, cache, layer,
         RotaryShape{shape.heads, shape.rope_dims / 2, shape.rope_pairs}, step_rows, rows, turns, q, k, v);
}

}  // namespace thermocline::cuda
