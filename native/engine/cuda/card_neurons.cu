// A layer's neurons, and its predictor.
#include "card_stages.h"

namespace thermocline::cuda {

void CardStages::predict(Stream stream, const CardLayerWeights& weights, const StepExtent& extent, NeuronCounts* did) {
  predictor_.run(stream, weights.fc1, weights.fc2, shape_.predictor_threshold, residual, extent.rows, active,
                 &did->predicted);
}

void CardStages::run_neurons(Stream stream, const CardNeurons& neurons, bool predicted, const StepExtent& extent,
                             double* out, NeuronCounts* did, const CardObserver* observer) {
  const unsigned embd = shape_.embd;
  if (wants_blocks(neurons.gate.type) || wants_blocks(neurons.up.type)) {
    quantize(stream, ffn_input, extent.rows, embd, false, quantized_);
  }
  neurons_.run(stream, neurons, {shape_.activation, shape_.relu_threshold}, {ffn_input, quantized_, embd}, extent.rows,
               predicted ? active : nullptr, shape_.ff, observer, out, did);
}

}  // namespace thermocline::cuda
