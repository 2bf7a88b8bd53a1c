// Second half of the neuron operator where down is stored one row an output (ffn_down, as llama.cpp writes it): all
// hidden values first, then each output sums over the groups of neurons that hold one which is not 0.
#pragma once

#include "gate_and_up.h"

namespace thermocline {

class DownByOutput {
 public:
  // Takes scratch for tiles of `tile_rows` rows and at most `neurons` neurons; none when either is 0.
  DownByOutput(const ModelShape& shape, size_t tile_rows, size_t neurons, uint32_t threads, MemoryLayout& scratch);

  // out[row][embd] for the tile's rows of `out`. The tile's neurons come in whole groups of the neurons that share a
  // block of ffn_down: 32, or 256 for K-quants.
  NeuronWork run(ThreadPool& pool, const NeuronTile& tile, double* out);

 private:
  // Groups next to each other in ffn_down that one row needs, to be summed over in one go.
  struct Run {
    size_t first;          // neuron, among this executor's
    size_t elements;
    size_t weight_offset;  // in bytes, within a row of ffn_down
    bool operator==(const Run&) const = default;
  };

  NeuronWork compute_hidden(const NeuronTile& tile, size_t begin, size_t end, uint32_t thread);
  void find_runs(const NeuronTile& tile, size_t group);
  bool rows_agree(size_t rows) const;
  void project(const NeuronTile& tile, size_t first, size_t count, double* out) const;

  size_t embd_;
  size_t blocks_;            // most blocks of 32 neurons, and the stride of what follows
  GateAndUp gate_and_up_;
  float* hidden_;            // [tile_rows][blocks][32]
  Q8Activation* quantized_;  // [tile_rows][blocks]
  uint8_t* nonzero_;         // [tile_rows][blocks]
  Run* runs_;                // [tile_rows][blocks]
  size_t* run_count_;        // [tile_rows]
  NeuronWork* work_;         // [blocks]
};

}  // namespace thermocline
