// The inner loops of training, one table an instruction set. Sums may differ between tables, never between runs.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels/kernels.h"

namespace thermocline {

// What one step of Adam (Kingma and Ba 2015) needs beside the parameters; corrected() folds the bias corrections in.
struct AdamStep {
  float rate;         // learning rate over 1 - beta1^t
  float second_bias;  // 1 / (1 - beta2^t)
};
inline constexpr float kAdamBeta1 = 0.9f;
inline constexpr float kAdamBeta2 = 0.999f;
inline constexpr float kAdamEpsilon = 1e-8f;

struct TrainKernels {
  size_t tile_rows, tile_cols;
  // c [tile_rows][tile_cols], rows `stride` floats apart, += a · b, packed as a [k][tile_rows] and b [k][tile_cols].
  void (*multiply_tile)(size_t k, const float* a, const float* b, float* c, size_t stride);
  // Binary cross-entropy with logits: each logit becomes the loss's derivative, `weight` times it where the target is 1
  // (else 0). Returns the sum of the losses.
  double (*cross_entropy)(float* logits, const float* targets, size_t count, float weight);
  void (*adam)(float* parameters, const float* gradient, float* mean, float* square, size_t count, AdamStep step);
};

// The fastest table for the same CPU features as those kernels need.
const TrainKernels& train_kernels_for(InstructionSet set);

}  // namespace thermocline
