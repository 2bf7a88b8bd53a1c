#include "head.h"

#include <algorithm>

#include "multiply.h"
#include "norm.h"

namespace thermocline {

Head::Head(const ModelShape& shape, size_t rows, uint32_t threads, MemoryLayout& scratch)
    : shape_(shape),
      chosen_(scratch.take<float>(checked_product({rows, shape.embd}))),
      normed_(scratch.take<float>(checked_product({rows, shape.embd}))),
      quantized_(scratch.take<Q8Activation>(checked_product({rows, shape.embd / kBlock}))),
      candidates_(rows > 0 ? threads : 0, scratch) {}

uint32_t Head::run(const Compute& compute, const Weights& weights, const Step& step, const float* x, Arena& arena) {
  const size_t embd = shape_.embd;
  size_t rows = 0;
  const auto choose = [&](bool (StepRow::*wants)() const) {
    for (size_t r = 0; r < step.rows; ++r) {
      if ((step.row[r].*wants)()) std::copy_n(x + r * embd, embd, chosen_ + rows++ * embd);
    }
  };
  choose(&StepRow::wants_all);
  const size_t whole = rows;
  choose(&StepRow::wants_some);
  if (rows == 0) return 0;
  normalize(compute, shape_, weights.output_norm, chosen_, rows, normed_);
  const Inputs normed = prepare(compute, normed_, rows, embd, {weights.output.type}, quantized_);
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
