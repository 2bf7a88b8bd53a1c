// Output norm and head: logits of the rows that want them.
#pragma once

#include "../../arena/arena.h"
#include "weights.h"

namespace thermocline {

class Head {
 public:
  // Takes scratch for `rows` rows; 0 when this executor does not run the head.
  Head(const ModelShape& shape, size_t rows, MemoryLayout& scratch);

  // logits[i] [vocab] for the i-th row of the step that wants them; x is the residual [step.rows][embd]. Returns how
  // many rows that were.
  uint32_t run(const Compute& compute, const Weights& weights, const Step& step, const float* x, float* logits);

 private:
  size_t embd_;
  float epsilon_;
  float* chosen_;            // [rows][embd]
  float* normed_;            // [rows][embd]
  Q8Activation* quantized_;  // [rows][embd / 32]
};

}  // namespace thermocline
