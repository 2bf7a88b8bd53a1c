// From a predictor's logits to the active set.
#pragma once

#include "../active_set.h"
#include "elements.h"

namespace thermocline::cuda {

// A warp takes a word of the active set. `count`, unless null, grows by the neurons set.
THERMOCLINE_KERNEL void set_active(const float* logits, unsigned neurons, float threshold, uint64_t* active,
                                   unsigned words, uint32_t* count) {
  const unsigned word = element_index() / kWarp, row = block_index().y;
  if (word >= words) return;
  uint32_t halves[2];
  for (unsigned half = 0; half < 2; ++half) {
    const unsigned neuron = word * static_cast<unsigned>(kActiveWordBits) + half * kWarp + lane_index();
    halves[half] = ballot(neuron < neurons && logits[size_t{row} * neurons + neuron] >= threshold);
  }
  if (lane_index() != 0) return;
  active[size_t{row} * words + word] = halves[0] | uint64_t{halves[1]} << kWarp;
  const auto set = static_cast<uint32_t>(count_bits(halves[0]) + count_bits(halves[1]));
  if (count != nullptr && set > 0) add_atomically(count, set);
}

}  // namespace thermocline::cuda
