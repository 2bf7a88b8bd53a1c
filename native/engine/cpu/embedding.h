// Token embeddings, looked up row by row.
#pragma once

#include "../../arena/arena.h"
#include "matrix.h"

namespace thermocline {

// x[r] = token_embd[step.row[r].token] as f32; x is [step.rows][embd]. Returns the bytes of weights read.
uint64_t embed(const Compute& compute, const Matrix& token_embd, const Step& step, float* x);

}  // namespace thermocline
