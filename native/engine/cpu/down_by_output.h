// Second half of the neuron operator where down is stored one row an output (ffn_down, as llama.cpp writes it): all
// hidden values first, then each output sums over the blocks of 32 neurons that hold one which is not 0.
#pragma once

#include <span>

#include "gate_and_up.h"

namespace thermocline {

class DownByOutput {
 public:
  // Takes scratch for tiles of `tile_rows` rows and at most `neurons` neurons; none when either is 0.
  DownByOutput(size_t embd, size_t tile_rows, size_t neurons, MemoryLayout& scratch);

  // out[row][embd] for the tile's rows of `out`. `numbers` are the neurons, ascending, in whole groups of 32.
  NeuronWork run(const Compute& compute, const GateAndUp& gate, std::span<const uint32_t> numbers, double* out);

 private:
  // Groups next to each other in ffn_down that one row needs, to be summed over in one go.
  struct Run {
    size_t group;          // the first, among this executor's
    size_t elements;
    size_t weight_offset;  // in bytes, within a row of ffn_down
  };

  NeuronWork compute_group(const Kernels& kernels, const GateAndUp& gate, std::span<const uint32_t> numbers,
                           size_t group);
  void find_runs(const GateAndUp& gate, std::span<const uint32_t> numbers);
  void project(const Kernels& kernels, const GateAndUp& gate, size_t begin, size_t end, double* out) const;

  size_t embd_;
  size_t groups_;            // most groups, and the stride of what follows
  float* hidden_;            // [tile_rows][groups][32]
  Q8Activation* quantized_;  // [tile_rows][groups]
  uint8_t* nonzero_;         // [tile_rows][groups]
  Run* runs_;                // [tile_rows][groups]
  size_t* run_count_;        // [tile_rows]
  NeuronWork* work_;         // [groups]
};

}  // namespace thermocline
