// The output head, and what else is small: sums and copies.
#include <algorithm>

#include "card_stages.h"
#include "copy.h"
#include "inputs.h"
#include "merge.h"
#include "norm.h"

namespace thermocline::cuda {

void CardStages::project(Stream stream, const CardWeights& weights, unsigned first, unsigned count, float* logits) {
  const CardMatrix& output = weights.output;
  const unsigned embd = shape_.embd;
  gather_rows(stream, residual, wanting + first, count, embd, projected_);
  normalize(stream, shape_, weights.output_norm, projected_, count, normed_,
            wants_blocks(output.type) ? quantized_ : nullptr);
  multiply(stream, output, {normed_, quantized_, embd}, 0, count, logits, output.count);
}

void CardStages::head(Stream stream, const CardWeights& weights, const StepExtent& extent, float* logits,
                      Candidate* candidates) {
  if (extent.logit_rows > 0) project(stream, weights, 0, extent.logit_rows, logits);
  for (unsigned first = 0; first < extent.candidate_rows; first += selected_rows_) {
    const unsigned count = std::min(selected_rows_, extent.candidate_rows - first);
    project(stream, weights, extent.logit_rows + first, count, logits_);
    selection_.select(stream, logits_, weights.output.count, count, extent.candidates,
                      candidates + size_t{first} * kMostCandidates);
  }
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
