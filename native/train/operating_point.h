// How many of the neurons that fire a predictor finds, and how many it takes for active to do so.
#pragma once

#include "activation_rows.h"
#include "stored_network.h"

namespace thermocline {

// Sums over (row, neuron) pairs.
struct Confusion {
  uint64_t rows = 0;
  uint64_t fired = 0;      // pairs that fire
  uint64_t predicted = 0;  // pairs taken for active
  uint64_t found = 0;      // pairs that fire and are taken for active

  double recall() const { return fired > 0 ? static_cast<double>(found) / static_cast<double>(fired) : 1; }
  double precision() const { return predicted > 0 ? static_cast<double>(found) / static_cast<double>(predicted) : 1; }
};

// What a network does with the rows, with activations rounded as engines round them before weights of `type`.
Confusion evaluate(Gemm& gemm, const Network& network, const ActivationRows& rows, WeightType type);

struct OperatingPoint {
  StoredNetwork stored;
  Confusion calibration;
};

// Raises or lowers all logits, neuron n's by `scales[n]` times one margin (unit_weights), so that the stored network
// finds `recall` of the pairs that fire in the rows of `calibration` and takes as few for active as that needs. When
// storing rounds too much of it away, it comes as near as it can. `unit` holds the unit weights.
OperatingPoint fold_margin(Gemm& gemm, const Network& network, const std::vector<float>& unit,
                           const std::vector<float>& scales, WeightType type, const ActivationRows& calibration,
                           double recall);

}  // namespace thermocline
