// The output head, and what else is small: sums and copies.
#include "card_stages.h"
#include "copy.h"
#include "inputs.h"
#include "merge.h"
#include "rms_norm.h"

namespace thermocline::cuda {

void CardStages::head(Stream stream, const CardWeights& weights, const StepExtent& extent, float* logits) {
  const CardMatrix& output = weights.output;
  const unsigned rows = extent.logit_rows, embd = shape_.embd;
  gather_rows(stream, residual, wanting, rows, embd, projected_);
  rms_norm(stream, projected_, weights.output_norm, shape_.rms_epsilon, rows, embd, normed_,
           wants_blocks(output.type) ? quantized_ : nullptr);
  multiply(stream, output, {normed_, quantized_, embd}, 0, rows, logits, output.count);
}

void CardStages::merge(Stream stream, std::span<const double* const> sums, const StepExtent& extent) {
  const unsigned elements = extent.rows * shape_.embd;
  Parts parts{};
  for (const double* each : sums) parts.sums[parts.count++] = each;
  add(stream, parts, elements, residual);
}

void CardStages::clear(Stream stream, void* memory, size_t bytes) { cuda::clear(stream, memory, bytes); }

void CardStages::copy(Stream stream, void* to, const void* from, size_t bytes) {
  cuda::copy(stream, to, from, bytes);
}

}  // namespace thermocline::cuda
