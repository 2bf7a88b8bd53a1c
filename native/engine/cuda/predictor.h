// PowerInfer's activation predictor (cpu/predictor.h): logits = fc2 · ReLU(fc1 · x); a neuron is taken to be active where
// its logit reaches the threshold.
#pragma once

#include <algorithm>

#include "../active_set.h"
#include "../memory_layout.h"
#include "dispatch.h"
#include "inputs.h"

namespace thermocline::cuda {

class Predictor {
 public:
  // Takes scratch for predictors of at most `rank` hidden values; none when it is 0.
  Predictor(unsigned embd, unsigned ff, unsigned rank, MemoryLayout& scratch)
      : hidden_(scratch.take<float>(size_t{kMostRows} * rank)),
        logits_(scratch.take<float>(rank > 0 ? size_t{kMostRows} * ff : 0)),
        quantized_(scratch.take<Q8Activation>(
            rank > 0 ? kMostRows * std::max<size_t>(embd, rank) / kBlock : 0)) {}

  // Sets `active` [rows][active_words(ff)] from x [rows][embd]: fc1 is [rank][embd], fc2 [ff][rank]. `count` on the card,
  // unless null, grows by the number of (row, neuron) pairs set.
  void run(Stream stream, const CardMatrix& fc1, const CardMatrix& fc2, float threshold, const float* x, unsigned rows,
           uint64_t* active, uint32_t* count) const;

 private:
  float* hidden_;            // [8][rank]
  float* logits_;            // [8][ff]
  Q8Activation* quantized_;  // [8][max(embd, rank) / 32]
};

}  // namespace thermocline::cuda
