// Which of the visited neurons fire, and their hidden values: ups of others are not read.
#pragma once

#include "card_neurons.h"
#include "chosen_rows.h"

namespace thermocline::cuda {

// A block takes `each` neurons: a divisor of 32, and a multiple of 8. Those that fire for a row of the tile are
// multiplied with all of its rows.
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void ups_of_fired(CardMatrix up, NeuronRule rule, Visited visited, unsigned each, const float* gates,
                                     const void* x, unsigned x_stride, TileNeurons out, NeuronCounts* counts) {
  const unsigned warp = thread_index() / kWarp, lane = lane_index();
  float* hidden = reinterpret_cast<float*>(shared_memory());  // [X][32]
  float* terms = hidden + X * kWarp + warp * product_bytes(X) / sizeof(float);
  const unsigned first = block_index().x * each, neuron = first + lane;
  const bool inside = lane < each && neuron < up.count;
  uint32_t fired[X], any_fired = 0, any_visited = 0;
  for (unsigned j = 0; j < X; ++j) {
    const bool visits = inside && visited(j, neuron);
    any_visited |= ballot(visits);
    fired[j] = ballot(visits && rule.fires(gates[j * out.stride + neuron]));
    any_fired |= fired[j];
  }
  for (unsigned j = 0; j < X; ++j) {
    // 1 holds the place of what is to come.
    if (j % kWarpsInBlock == warp) hidden[j * kWarp + lane] = fired[j] >> lane & 1 ? 1.0f : 0.0f;
  }
  sync_threads();
  multiply_chosen<Type, X>(up, first, any_fired, x, x_stride, terms, [&](unsigned bit, unsigned j, float value) {
    const float gate = gates[j * out.stride + first + bit];
    if (hidden[j * kWarp + bit] != 0) hidden[j * kWarp + bit] = rule.hidden(gate, value);
  });
  sync_threads();
  uint32_t pairs = 0;
  for (unsigned j = 0; j < X; ++j) {
    pairs += static_cast<uint32_t>(count_bits(fired[j]));
    if (j % kWarpsInBlock != warp) continue;
    const float value = hidden[j * kWarp + lane];
    const uint32_t nonzero = ballot(value != 0);
    if (lane >= each) continue;
    const size_t at = size_t{j} * out.stride + neuron;
    out.hidden[at] = value;
    if (lane % 8 != 0) continue;
    reinterpret_cast<uint8_t*>(out.nonzero)[at / 8] = static_cast<uint8_t>(nonzero >> lane);
    reinterpret_cast<uint8_t*>(out.fired)[at / 8] = static_cast<uint8_t>(fired[j] >> lane);
  }
  if (thread_index() != 0 || any_visited == 0) return;
  add_atomically(&counts->gates, static_cast<uint32_t>(count_bits(any_visited)));
  if (any_fired == 0) return;
  add_atomically(&counts->fired, pairs);
  add_atomically(&counts->ups, static_cast<uint32_t>(count_bits(any_fired)));
}

// Fills `out` for the X rows of h from `first` on; `gates` [X][out.stride] are those of find_gates().
template <unsigned X>
void find_hidden(Stream stream, const CardMatrix& up, const NeuronRule& rule, const Visited& visited,
                 const CardInputs& h, unsigned first, const float* gates, const TileNeurons& out,
                 NeuronCounts* counts) {
  // Where all neurons fire, a warp takes two; else as many as leave some to each of a block's warps.
  const bool all_fire = rule.activation == Activation::silu && visited.active == nullptr;
  const unsigned each = all_fire ? 2 * kWarpsInBlock : kWarp;
  for_type(up.type, [&]<WeightType Type>() {
    launch(stream, ups_of_fired<Type, X>,
           {{out.stride / each}, kWarpsInBlock * kWarp, X * kWarp * sizeof(float) + chosen_bytes<Type>(X)}, up, rule,
           visited, each, gates, h.rows(Type, first), h.stride(Type), out, counts);
  });
}

}  // namespace thermocline::cuda
