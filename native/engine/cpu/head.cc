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
  const auto for_each = [&](bool all, const auto& use) {
    for (size_t r = 0; r < step.rows; ++r) {
      const StepRow& row = step.row[r];
      if (row.wants_logits != 0 && (row.candidates == 0) == all) use(r, static_cast<uint32_t>(row.candidates));
    }
  };
  size_t rows = 0;
  const auto choose = [&](size_t r, uint32_t) { std::copy_n(x + r * embd_, embd_, chosen_ + rows++ * embd_); };
  for_each(true, choose);
  const size_t whole = rows;
  for_each(false, choose);
  if (rows == 0) return 0;
  rms_norm(compute, chosen_, weights.output_norm, epsilon_, rows, embd_, normed_);
  const Inputs normed = prepare(compute, normed_, rows, embd_, {weights.output.type}, quantized_);
  multiply(compute, {{weights.output, arena.logits()}}, normed, rows);

  const size_t vocab = weights.output.rows;
  const float* logits = arena.logits() + whole * vocab;
  Candidate* to = arena.candidates();
  for_each(false, [&](size_t, uint32_t count) {
    candidates_.select(compute, logits, vocab, count, to);
    logits += vocab;
    to += kMostCandidates;
  });
  return static_cast<uint32_t>(rows);
}

}  // namespace thermocline
