// Gates of the neurons that the rows of a tile visit.
#pragma once

#include "card_neurons.h"
#include "chosen_rows.h"

namespace thermocline::cuda {

// A block takes 32 neurons, and multiplies those that a row of the tile visits with all of its rows.
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void gates_of_visited(CardMatrix gate, Visited visited, const void* x, unsigned x_stride,
                                         float* gates, unsigned stride) {
  const unsigned first = block_index().x * kWarp, neuron = first + lane_index();
  float* terms = reinterpret_cast<float*>(shared_memory()) + thread_index() / kWarp * product_bytes(X) / sizeof(float);
  uint32_t which = 0;
  for (unsigned j = 0; j < X; ++j) which |= ballot(neuron < gate.count && visited(j, neuron));
  multiply_chosen<Type, X>(gate, first, which, x, x_stride, terms, [&](unsigned bit, unsigned j, float value) {
    gates[j * stride + first + bit] = value;
  });
}

// gates[j][n] = gate n · the j-th of the X rows of h from `first` on, for the neurons that a row of them visits; the
// others are anything. gates is [X][stride].
template <unsigned X>
void find_gates(Stream stream, const CardMatrix& gate, const Visited& visited, const CardInputs& h, unsigned first,
                float* gates, unsigned stride) {
  if (visited.active == nullptr) return multiply(stream, gate, h, first, X, gates, stride);
  for_type(gate.type, [&]<WeightType Type>() {
    launch(stream, gates_of_visited<Type, X>,
           {{whole_words(gate.count) / kWarp}, kWarpsInBlock * kWarp, chosen_bytes<Type>(X)}, gate, visited,
           h.rows(Type, first), h.stride(Type), gates, stride);
  });
}

}  // namespace thermocline::cuda
