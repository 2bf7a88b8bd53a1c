#include "head.h"

#include <algorithm>

#include "multiply.h"
#include "rms_norm.h"

namespace thermocline {

Head::Head(const ModelShape& shape, size_t rows, uint32_t threads, MemoryLayout& scratch)
    : embd_(shape.embd),
      epsilon_(shape.rms_epsilon),
      chosen_(scratch.take<float>(checked_product({rows, embd_}))),
      normed_(scratch.take<float>(checked_product({rows, embd_}))),
      quantized_(scratch.take<Q8Activation>(checked_product({rows, embd_ / kBlock}))),
      candidates_(rows > 0 ? threads : 0, scratch) {}

uint32_t Head::run(const Compute& compute, const Weights& weights, const Step& step, const float* x, Arena& arena) {
  size_t rows = 0;
  const auto choose = [&](bool (StepRow::*wants)() const) {
    for (size_t r = 0; r < step.rows; ++r) {
      if ((step.row[r].*wants)()) std::copy_n(x + r * embd_, embd_, chosen_ + rows++ * embd_);
    }
  };
  choose(&StepRow::wants_all);
  const size_t whole = rows;
  choose(&StepRow::wants_some);
  if (rows == 0) return 0;
  rms_norm(compute, chosen_, weights.output_norm, epsilon_, rows, embd_, normed_);
  const Inputs normed = prepare(compute, normed_, rows, embd_, {weights.output.type}, quantized_);
  multiply(compute, {{weights.output, arena.logits()}}, normed, rows);

  const size_t vocab = weights.output.rows;
  const float* logits = arena.logits() + whole * vocab;
  Candidate* to = arena.candidates();
  for (size_t r = 0; r < step.rows; ++r) {
    if (!step.row[r].wants_some()) continue;
    candidates_.select(compute, logits, vocab, static_cast<uint32_t>(step.row[r].candidates), to);
    logits += vocab;
    to += kMostCandidates;
  }
  return static_cast<uint32_t>(rows);
}

}  // namespace thermocline
