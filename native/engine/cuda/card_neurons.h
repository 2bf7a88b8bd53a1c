// What is known of an executor's neurons of a layer for a tile of rows.
#pragma once

#include "../active_set.h"
#include "../plan.h"
#include "card_weights.h"
#include "exponentials.h"
#include "inputs.h"
#include "neuron_counts.h"

namespace thermocline::cuda {

// Arrays over neurons are divided into words of 32.
constexpr unsigned whole_words(unsigned neurons) { return (neurons + kWarp - 1) / kWarp * kWarp; }

// Which neurons the rows of a tile are to visit: those of an active set's rows, or, without one, all.
struct Visited {
  const uint64_t* active;   // [rows][stride], or null
  unsigned stride;
  const uint32_t* numbers;  // [neurons]

  THERMOCLINE_DEVICE bool operator()(unsigned row, unsigned neuron) const {
    return active == nullptr || is_active(active + size_t{row} * stride, numbers[neuron]);
  }
  // Of the rows from `first` on.
  Visited from(unsigned first) const {
    return {active == nullptr ? nullptr : active + size_t{first} * stride, stride, numbers};
  }
};

// When a neuron fires, and what its hidden value is then. (Written so that a NaN fires and is seen.)
struct NeuronRule {
  Activation activation;
  float threshold;

  THERMOCLINE_ANYWHERE bool fires(float gate) const {
    return activation == Activation::silu || !(gate <= 0 || gate < threshold);
  }
  THERMOCLINE_DEVICE float hidden(float gate, float up) const {
    if (activation == Activation::silu) return silu_times(gate, up);
    return gate * (activation == Activation::relu2 ? rectified(up) : up);
  }
};

// Of the rows of a tile; `stride` neurons, whole words, in every row.
struct TileNeurons {
  float* hidden;      // [rows][stride]; 0 unless the neuron fired
  uint32_t* nonzero;  // [rows][stride / 32] bit n: the hidden value is not 0
  uint32_t* fired;    // [rows][stride / 32]
  unsigned stride;

  // The rows from `first` on.
  TileNeurons from(unsigned first) const {
    const size_t words = size_t{first} * (stride / kWarp);
    return {hidden + words * kWarp, nonzero + words, fired + words, stride};
  }

  THERMOCLINE_DEVICE const uint32_t* nonzero_of(unsigned row) const { return nonzero + size_t{row} * (stride / kWarp); }
  THERMOCLINE_DEVICE const uint32_t* fired_of(unsigned row) const { return fired + size_t{row} * (stride / kWarp); }
};

}  // namespace thermocline::cuda
