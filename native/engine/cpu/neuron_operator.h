// A layer's neurons, those of this executor: for neuron i, g = gate_i · h, u = up_i · h, out += act(g) * u * down_i.
#pragma once

#include "down_by_neuron.h"
#include "down_by_output.h"

namespace thermocline {

class NeuronOperator {
 public:
  // Takes scratch for steps of `rows` rows and this executor's fullest layers; none when it holds no neurons.
  NeuronOperator(const EnginePlan& plan, const ModelTensors& tensors, const Share& share, size_t rows,
                 uint32_t threads, MemoryLayout& scratch);

  // out[r] = the share of `numbers` (this executor's neurons of the layer) in the FFN's output for h[r];
  // h and out are [rows][embd]. `active` [rows][active_words(ff)] limits which neurons are visited; null visits all.
  // `observer` is told of those that fire, unless it is null.
  NeuronWork run(const Compute& compute, const NeuronWeights& weights, std::span<const uint32_t> numbers,
                 const float* h, size_t rows, const uint64_t* active, const NeuronObserver* observer, double* out);

 private:
  size_t embd_, ff_;
  Q8Activation* quantized_;  // [rows][embd / 32]
  DownByNeuron by_neuron_;
  DownByOutput by_output_;
};

}  // namespace thermocline
