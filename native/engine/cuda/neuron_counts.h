// What a layer's neurons did in a step, for its timing record.
#pragma once

#include <cstdint>

namespace thermocline::cuda {

// Added up on the card, from 0 in each step.
struct NeuronCounts {
  uint32_t fired;              // (row, neuron) pairs
  // Neurons whose weights were read, once for each tile of rows: of gates and ups all, where a tile is large.
  uint32_t gates, ups, downs;
  uint32_t predicted = 0;      // (row, neuron) pairs that a predictor took for active
};

}  // namespace thermocline::cuda
