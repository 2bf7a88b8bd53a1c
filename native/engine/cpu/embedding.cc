#include "embedding.h"

namespace thermocline {

uint64_t embed(const Compute& compute, const Matrix& token_embd, const Step& step, float* x) {
  const size_t embd = token_embd.cols;
  const auto dequantize = compute.kernels.dequantize[static_cast<size_t>(token_embd.type)];
  for (size_t r = 0; r < step.rows; ++r) {
    dequantize(token_embd.row(static_cast<size_t>(step.row[r].token)), x + r * embd, embd);
  }
  return step.rows * row_bytes(token_embd.type, embd);
}

}  // namespace thermocline
