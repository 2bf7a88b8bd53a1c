// What attention does with a step's queries, keys and values before it looks at any: the bits of cpu/rope_and_store.h.
#pragma once

#include "../rope.h"
#include "card_cache.h"

namespace thermocline::cuda {

// Adjacent dimensions of a head.
struct alignas(8) Pair {
  float first, second;
};

// A thread takes a pair of a row's queries, keys and values, which lie behind each other in its count of pairs.
THERMOCLINE_KERNEL void rope_and_store_pairs(CardCache cache, unsigned layer, unsigned heads, const StepRow* step_rows,
                                             unsigned rows, const Rope::Turn* turns, unsigned turning, Pair* q,
                                             const Pair* k, const Pair* v) {
  const unsigned pairs = cache.head_dim / 2;
  const unsigned of_row = (heads + 2 * cache.kv_heads) * pairs;
  const unsigned index = block_index().x * block_threads() + thread_index();
  const unsigned row = index / of_row;
  if (row >= rows) return;
  unsigned head = index % of_row / pairs;
  const unsigned pair = index % pairs;

  const auto turned = [&](Pair from) {
    if (pair >= turning) return from;
    const Rope::Turn turn = turns[row * turning + pair];
    return Pair{from.first * turn.cos - from.second * turn.sin, from.first * turn.sin + from.second * turn.cos};
  };
  if (head < heads) {
    Pair* query = q + (size_t{row} * heads + head) * pairs + pair;
    *query = turned(*query);
    return;
  }
  head -= heads;
  const bool is_key = head < cache.kv_heads;
  if (!is_key) head -= cache.kv_heads;
  const size_t from = (size_t{row} * cache.kv_heads + head) * pairs + pair;
  const Pair stored = is_key ? turned(k[from]) : v[from];
  const StepRow at = step_rows[row];
  const unsigned slot = static_cast<unsigned>(at.slot);
  uint16_t* to = is_key ? cache.keys(slot, layer, head) : cache.values(slot, layer, head);
  reinterpret_cast<uint32_t*>(to)[static_cast<size_t>(at.position) * pairs + pair] =
      uint32_t{float_to_half(stored.second)} << 16 | float_to_half(stored.first);
}

// Rotates q [rows][heads][head_dim] by turns [rows][rope_dims / 2], and puts k [rows][kv_heads][head_dim], rotated too,
// and v into the cache. head_dim is even; all are in the card's memory, at multiples of 8.
inline void rope_and_store(Stream stream, const CardCache& cache, unsigned layer, unsigned heads,
                           const StepRow* step_rows, unsigned rows, const Rope::Turn* turns, unsigned rope_dims,
                           float* q, const float* k, const float* v) {
  constexpr unsigned kThreads = 128;
  const unsigned all = rows * (heads + 2 * cache.kv_heads) * (cache.head_dim / 2);
  launch(stream, rope_and_store_pairs, {{(all + kThreads - 1) / kThreads}, kThreads}, cache, layer, heads, step_rows,
         rows, turns, rope_dims / 2, reinterpret_cast<Pair*>(q), reinterpret_cast<const Pair*>(k),
         reinterpret_cast<const Pair*>(v));
}

}  // namespace thermocline::cuda
