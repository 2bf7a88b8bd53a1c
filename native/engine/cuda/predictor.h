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
  // Takes scratch for steps of at most `rows` rows, and for predictors of at most `rank` hidden values; none when that
  // is 0.
  Predictor(unsigned embd, unsigned ff, unsigned rows, unsigned rank, MemoryLayout& scratch) {
    const size_t tile = rank > 0 ? std::min(rows, kManyRows) : 0;
    hidden_ = scratch.take<float>(tile * rank);
    logits_ = scratch.take<float>(tile * ff);
    quantized_ = scratch.take<Q8Activation>(tile * (std::max(embd, rank) / kBlock));
  }

  // Sets `active` [rows][active_words(ff)] from x [rows][embd]: fc1 is [rank][embd], fc2 [ff][rank]. `count` on the card,
  // unless null, grows by the number of (row, neuron) pairs set.
  void run(Stream stream, const CardMatrix& fc1, const CardMatrix& fc2, float threshold, const float* x, unsigned rows,
           uint64_t* active, uint32_t* count) const;

 private:
  float* hidden_;            // [tile][rank]
  float* logits_;            // [tile][ff]
  Q8Activation* quantized_;  // [tile][max(embd, rank) / 32]
};

}  // namespace thermocline::cuda
