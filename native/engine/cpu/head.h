// Output norm and head: logits of the rows that want them, or the highest of them.
#pragma once

#include "../../arena/arena.h"
#include "candidates.h"
#include "weights.h"

namespace thermocline {

class Head {
 public:
  // Takes scratch for `rows` rows; 0 when this executor does not run the head.
  Head(const ModelShape& shape, size_t rows, uint32_t threads, MemoryLayout& scratch);

  // Writes arena.logits() and arena.candidates() for the step; x is the residual [step.rows][embd]. Returns how many rows
  // wanted either.
  uint32_t run(const Compute& compute, const Weights& weights, const Step& step, const float* x, Arena& arena);

 private:
  ModelShape shape_;
  float* chosen_;            // [rows][embd]
  float* normed_;            // [rows][embd]
  Q8Activation* quantized_;  // [rows][embd / 32]
  Candidates candidates_;
};

}  // namespace thermocline
