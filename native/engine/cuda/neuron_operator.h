// A layer's neurons, those of this executor: for neuron i, g = gate_i · h, u = up_i · h, out += act(g) * u * down_i, as
// cpu/neuron_operator.h has it. What is launched depends on the number of rows and of neurons alone.
#pragma once

#include <algorithm>

#include "../memory_layout.h"
#include "dispatch.h"
#include "nonzero_list.h"
#include "observation.h"

namespace thermocline::cuda {

class NeuronOperator {
 public:
  // Takes scratch for steps of at most `rows` rows, and for so many neurons in the fullest of the layers whose down is
  // stored by neuron, and of those where it is stored by output.
  NeuronOperator(unsigned embd, unsigned rows, unsigned by_neuron, unsigned by_output, MemoryLayout& scratch) {
    const unsigned tile = most_rows_of_tile(rows), many = std::min(rows, kManyRows);
    const size_t neurons = size_t{many} * whole_words(std::max(by_neuron, by_output));
    gates_ = scratch.take<float>(neurons);
    hidden_ = scratch.take<float>(neurons);
    nonzero_ = scratch.take<uint32_t>(neurons / kWarp);
    fired_ = scratch.take<uint32_t>(neurons / kWarp);
    partial_ = scratch.take<double>(
        std::max(partial_sums(tile, by_neuron, embd), partial_sums_of_many(many, by_neuron, embd)));
    quantized_ = scratch.take<Q8Activation>(size_t{many} * whole_words(by_output) / kBlock);
  }

  // There is at least one row, and one neuron. out[r] = the neurons' share in the FFN's output for h's row r; out is
  // [rows][embd]. `active` [rows][active_words(ff)] limits which neurons are visited; null visits all. `observer` is told
  // of those that fire, unless it is null. `counts` on the card grow.
  void run(Stream stream, const CardNeurons& neurons, const NeuronRule& rule, const CardInputs& h, unsigned rows,
           const uint64_t* active, unsigned ff, const CardObserver* observer, double* out, NeuronCounts* counts) const;

 private:
  // Of at most kManyRows rows, and of tiles of at most kMostRows.
  float* gates_;             // [many][neurons]
  float* hidden_;            // [many][neurons]
  uint32_t* nonzero_;        // [many][neurons / 32]
  uint32_t* fired_;          // [many][neurons / 32]
  double* partial_;          // [segments][tile][embd], or [fewer segments][many][embd]
  Q8Activation* quantized_;  // [many][neurons / 32]
};

}  // namespace thermocline::cuda
