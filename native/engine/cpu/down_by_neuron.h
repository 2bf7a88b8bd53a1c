// Second half of the neuron operator where down is stored one row a neuron (ffn_down_t): gate, up and down in one pass
// over the neurons' bundles, and no weight of a neuron that does not fire is read beyond its gate.
#pragma once

#include <span>

#include "gate_and_up.h"

namespace thermocline {

// Neurons are divided into segments, each with an accumulator of its own; the accumulators are added in order. The
// number of segments follows from the number of neurons alone, so results do not depend on the number of threads.
class DownByNeuron {
 public:
  // Takes scratch for tiles of `tile_rows` rows and at most `neurons` neurons; none when either is 0.
  DownByNeuron(size_t embd, size_t tile_rows, size_t neurons, MemoryLayout& scratch);

  // out[row][embd] for the tile's rows of `out`. `numbers` are the neurons, ascending.
  NeuronWork run(const Compute& compute, const GateAndUp& gate, std::span<const uint32_t> numbers, double* out);

 private:
  NeuronWork run_segment(const Kernels& kernels, const GateAndUp& gate, std::span<const uint32_t> numbers,
                         size_t begin, size_t end, double* sums) const;
  void merge(const Compute& compute, size_t segments, size_t rows, double* out) const;

  size_t embd_;
  size_t tile_rows_;
  double* sums_;      // [segments][tile_rows][embd]
  NeuronWork* work_;  // [segments]
};

}  // namespace thermocline
