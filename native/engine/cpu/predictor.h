// PowerInfer's activation predictor: logits = fc2 · ReLU(fc1 · x), where x is the residual before the FFN's norm (as in
// its llama and Bamboo models); a neuron is taken to be active where its logit reaches the threshold.
#pragma once

#include "../active_set.h"
#include "weights.h"

namespace thermocline {

class Predictor {
 public:
  // Takes scratch for `rows` rows; 0 when this executor owns no layer. `tensors` tells the largest rank.
  Predictor(const EnginePlan& plan, const ModelTensors& tensors, size_t rows, MemoryLayout& scratch);

  // Sets `active` [rows][active_words(ff)] from x [rows][embd]. Returns the number of (row, neuron) pairs set.
  uint32_t run(const Compute& compute, const LayerWeights& weights, const float* x, size_t rows, uint64_t* active);

 private:
  size_t embd_, ff_;
  float threshold_;
  float* hidden_;            // [rows][rank]
  Q8Activation* quantized_;  // [rows][max(embd, rank) / 32]
};

}  // namespace thermocline
