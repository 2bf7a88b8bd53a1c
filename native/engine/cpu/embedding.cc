#include "embedding.h"

#include <algorithm>

namespace thermocline {

uint64_t embed(const Compute& compute, const Matrix& token_embd, const Step& step, float* x) {
  const size_t embd = token_embd.cols;
  const auto add_scaled = compute.kernels.add_scaled[static_cast<size_t>(token_embd.type)];
  std::fill(x, x + step.rows * embd, 0.0f);
  for (size_t r = 0; r < step.rows; ++r) {
    add_scaled(1.0f, token_embd.row(static_cast<size_t>(step.row[r].token)), x + r * embd, embd);
  }
  return step.rows * row_bytes(token_embd.type, embd);
}

}  // namespace thermocline
