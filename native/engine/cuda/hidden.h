// Which of the visited neurons fire, and their hidden values, where gates and ups of all neurons are there already.
#pragma once

#include "card_neurons.h"
#include "dispatch.h"
#include "elements.h"

namespace thermocline::cuda {

// A warp takes a word of neurons for as many as kMostRows rows, the y-th of them in the grid. out.hidden holds the ups.
// Of gates and ups all are counted as read, and so many downs.
THERMOCLINE_KERNEL void hidden_of_all(NeuronRule rule, Visited visited, unsigned neurons, unsigned downs, unsigned rows,
                                      const float* gates, TileNeurons out, NeuronCounts* counts) {
  const unsigned word = element_index() / kWarp;
  if (word == 0 && block_index().y == 0 && lane_index() == 0) {
    add_atomically(&counts->gates, neurons);
    add_atomically(&counts->ups, neurons);
    add_atomically(&counts->downs, downs);
  }
  const unsigned neuron = word * kWarp + lane_index(), first = block_index().y * kMostRows;
  if (word >= out.stride / kWarp) return;
  // Everything is read before anything is written, so that all of it is on its way at once.
  float gate[kMostRows], up[kMostRows];
  bool visits[kMostRows];
  THERMOCLINE_UNROLL for (unsigned i = 0; i < kMostRows; ++i) {
    const unsigned j = first + i;
    const size_t at = size_t{j} * out.stride + neuron;
    visits[i] = j < rows && neuron < neurons && visited(j, neuron);
    gate[i] = visits[i] ? gates[at] : 0;
    up[i] = visits[i] ? out.hidden[at] : 0;
  }
  uint32_t pairs = 0;
  THERMOCLINE_UNROLL for (unsigned i = 0; i < kMostRows; ++i) {
    const unsigned j = first + i;
    const bool fires = visits[i] && rule.fires(gate[i]);
    const float value = fires ? rule.hidden(gate[i], up[i]) : 0;
    const uint32_t fired = ballot(fires), nonzero = ballot(value != 0);
    pairs += static_cast<uint32_t>(count_bits(fired));
    if (j >= rows) continue;
    const size_t at = size_t{j} * out.stride + neuron;
    out.hidden[at] = value;
    if (lane_index() != 0) continue;
    out.nonzero[at / kWarp] = nonzero;
    out.fired[at / kWarp] = fired;
  }
  if (lane_index() == 0 && pairs > 0) add_atomically(&counts->fired, pairs);
}

// Fills `out` [rows][out.stride], whose hidden values are the ups of all neurons; `gates` [rows][out.stride]. `downs` down
// rows will be read, whichever neurons fire.
inline void find_hidden_of_all(Stream stream, unsigned neurons, unsigned downs, const NeuronRule& rule, const Visited& visited,
                               unsigned rows, const float* gates, const TileNeurons& out, NeuronCounts* counts) {
  constexpr unsigned kWarps = 4;
  launch(stream, hidden_of_all,
         {{(out.stride / kWarp + kWarps - 1) / kWarps, (rows + kMostRows - 1) / kMostRows}, kWarps * kWarp}, rule,
         visited, neurons, downs, rows, gates, out, counts);
}

}  // namespace thermocline::cuda
