// Neurons that change places while steps run: each takes over the other's memory, on the other's executor, so that no
// executor's memory grows. All executors apply an exchange at the start of the same step
// (docs/decisions/re-placement.md).
#pragma once

#include <cstdint>
#include <vector>

#include "model_tensors.h"

namespace thermocline {

// Neurons first[i] and second[i] of a layer change places; no neuron does so twice.
struct LayerExchange {
  uint32_t layer;
  std::vector<uint32_t> first, second;
};

struct Exchange {
  uint64_t number;  // by which a step names it; not 0
  std::vector<LayerExchange> layers;  // each at most once
};

// Throws Error naming what is at fault, such as `layers[2].first[7]`: `invalid_argument` when an exchange contradicts
// itself or the schedule, `unsupported` for a layer whose ffn_down is stored one row an output, where neurons share
// blocks.
void validate(const Exchange& exchange, const Schedule& schedule, const ModelTensors& tensors);

// The schedule as it is after a valid exchange.
void apply(const Exchange& exchange, Schedule& schedule);

}  // namespace thermocline
