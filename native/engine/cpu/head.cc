#include "head.h"

#include <algorithm>

#include "multiply.h"
#include "rms_norm.h"

namespace thermocline {

Head::Head(const ModelShape& shape, size_t rows, MemoryLayout& scratch)
    : embd_(shape.embd),
      epsilon_(shape.rms_epsilon),
      chosen_(scratch.take<float>(checked_product({rows, embd_}))),
      normed_(scratch.take<float>(checked_product({rows, embd_}))),
      quantized_(scratch.take<Q8Activation>(checked_product({rows, embd_ / kBlock}))) {}

uint32_t Head::run(const Compute& compute, const Weights& weights, const Step& step, const float* x, float* logits) {
  size_t rows = 0;
  for (size_t r = 0; r < step.rows; ++r) {
    if (step.row[r].wants_logits == 0) continue;
    std::copy(x + r * embd_, x + (r + 1) * embd_, chosen_ + rows * embd_);
    ++rows;
  }
  if (rows == 0) return 0;
  rms_norm(compute, chosen_, weights.output_norm, epsilon_, rows, embd_, normed_);
  const Inputs normed = prepare(compute, normed_, rows, embd_, {weights.output.type}, quantized_);
  multiply(compute, {{weights.output, logits}}, normed, rows);
  return static_cast<uint32_t>(rows);
}

}  // namespace thermocline
