// Records which neurons of a layer fired, in steps that are observed: what neuron_observer.h does.
#pragma once

#include "card_neurons.h"
#include "elements.h"

namespace thermocline::cuda {

// Memory of the card, or of the host where the card reads and writes it in place.
struct CardObserver {
  uint32_t* counts;     // [ff]
  float* strengths;     // [ff]
  uint64_t* fired_set;  // [rows of the step][words], or null; this executor's alone while the kernel runs
  unsigned words;
};

// A thread takes a neuron, so that what is added to its entries is added in the rows' order.
template <unsigned X>
THERMOCLINE_KERNEL void observe_fired(TileNeurons tile, const uint32_t* numbers, unsigned neurons,
                                      CardObserver observer) {
  const unsigned neuron = element_index();
  if (neuron >= neurons) return;
  const unsigned bit = neuron % kWarp;
  uint32_t times = 0;
  for (unsigned j = 0; j < X; ++j) times += tile.fired_of(j)[neuron / kWarp] >> bit & 1;
  if (times == 0) return;
  const uint32_t number = numbers[neuron];
  observer.counts[number] += times;
  float strength = observer.strengths[number];
  for (unsigned j = 0; j < X; ++j) {
    if ((tile.fired_of(j)[neuron / kWarp] >> bit & 1) == 0) continue;
    strength += fabsf(tile.hidden[size_t{j} * tile.stride + neuron]);
    if (observer.fired_set == nullptr) continue;
    // A word's bits are several neurons'. In halves: the lower one comes first.
    set_atomically(reinterpret_cast<uint32_t*>(observer.fired_set + size_t{j} * observer.words) + number / kWarp,
                   1u << number % kWarp);
  }
  observer.strengths[number] = strength;
}

// Of a tile whose first row is the observer's.
template <unsigned X>
void observe(Stream stream, const TileNeurons& tile, const uint32_t* numbers, unsigned neurons,
             const CardObserver& observer) {
  launch(stream, observe_fired<X>, by_element(neurons), tile, numbers, neurons, observer);
}

}  // namespace thermocline::cuda
