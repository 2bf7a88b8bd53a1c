// RMSNorm, y = x / sqrt(mean(x^2) + epsilon) * weight (Zhang and Sennrich 2019), and LayerNorm,
// y = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias (Ba et al. 2016).
#pragma once

#include "weights.h"

namespace thermocline {

// The shape's norm of every row. x and y are [rows][embd] and must not overlap.
void normalize(const Compute& compute, const ModelShape& shape, const NormWeights& weights, const float* x, size_t rows,
               float* y);

}  // namespace thermocline
