// Second half of the neuron operator where down is stored one row a neuron (ffn_down_t): no weight of a neuron that
// does not fire is read beyond its gate.
#pragma once

#include "gate_and_up.h"

namespace thermocline {

// Neurons are divided into segments, each with an accumulator of its own; the accumulators are added in order. The
// number of segments follows from the number of neurons alone, so results do not depend on the number of threads.
class DownByNeuron {
 public:
  // Takes scratch for tiles of `tile_rows` rows and at most `neurons` neurons; none when either is 0.
  DownByNeuron(const ModelShape& shape, size_t tile_rows, size_t neurons, uint32_t threads, MemoryLayout& scratch);

  // out[row][embd] for the tile's rows of `out`.
  NeuronWork run(ThreadPool& pool, const NeuronTile& tile, double* out);

 private:
  NeuronWork run_segment(const NeuronTile& tile, size_t segment, size_t begin, size_t end, uint32_t thread);
  void merge(ThreadPool& pool, size_t segments, size_t rows, double* out) const;

  size_t embd_;
  size_t tile_rows_;
  GateAndUp gate_and_up_;
  double* sums_;      // [segments][tile_rows][embd]
  uint8_t* used_;     // [segments][tile_rows]: whether anything was added there
  NeuronWork* work_;  // [segments]
};

}  // namespace thermocline
