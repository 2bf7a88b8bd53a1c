// RMSNorm: y = x / sqrt(mean(x^2) + epsilon) * weight.
#pragma once

#include "matrix.h"

namespace thermocline {

// x and y are [rows][cols], weight is f32 [cols] at any alignment. y must not overlap x.
void rms_norm(const Compute& compute, const float* x, const std::byte* weight, float epsilon, size_t rows, size_t cols,
              float* y);

}  // namespace thermocline
