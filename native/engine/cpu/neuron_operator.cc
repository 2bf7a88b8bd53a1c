#include "neuron_operator.h"

#include <algorithm>

#include "multiply.h"

namespace thermocline {
namespace {

// This executor's neurons in the fullest of the layers whose down-projection is stored this way.
size_t most_neurons(const ModelTensors& tensors, const Share& share, bool down_by_neuron) {
  size_t most = 0;
  for (size_t l = 0; l < share.layers.size(); ++l) {
    if (tensors.layers[l].down_by_neuron == down_by_neuron) most = std::max(most, share.layers[l].neurons.size());
  }
  return most;
}

}  // namespace

NeuronOperator::NeuronOperator(const EnginePlan& plan, const ModelTensors& tensors, const Share& share, size_t rows,
                               uint32_t threads, MemoryLayout& scratch)
    : embd_(plan.shape.embd),
      ff_(plan.shape.ff),
      quantized_(scratch.take<Q8Activation>(share.holds_neurons() ? checked_product({rows, embd_ / kBlock}) : 0)),
      by_neuron_(plan.shape, std::min(rows, kRowTile), most_neurons(tensors, share, true), threads, scratch),
      by_output_(plan.shape, std::min(rows, kRowTile), most_neurons(tensors, share, false), threads, scratch) {}

NeuronWork NeuronOperator::run(const Compute& compute, const NeuronWeights& weights,
                               std::span<const uint32_t> numbers, const float* h, size_t rows, const uint64_t* active,
                               const NeuronObserver* observer, double* out) {
  const Inputs inputs = prepare(compute, h, rows, embd_, {weights.gate.type, weights.up.type}, quantized_);
  NeuronWork work;
  for (size_t first = 0; first < rows; first += kRowTile) {
    const NeuronTile tile{compute.kernels, weights, numbers, inputs, first, std::min(kRowTile, rows - first),
                          active, active_words(ff_), observer};
    work += weights.down_by_neuron ? by_neuron_.run(compute.pool, tile, out) : by_output_.run(compute.pool, tile, out);
  }
  return work;
}

}  // namespace thermocline
