// The loops behind TrainKernels, for the compiler to vectorize. Included once by each instruction set's file.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "train_kernels.h"

namespace thermocline {
namespace {

// Rows times two vectors of columns stay in registers: of 32 AVX-512 registers 12 * 2 sums, 2 columns and 1 row.
template <size_t kLanes, size_t kRows>
struct Tile {
  static constexpr size_t kCols = 2 * kLanes;
  typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));

  static void multiply(size_t k, const float* a, const float* b, float* c, size_t stride) {
    Lanes sums[kRows][2] = {};
    for (size_t i = 0; i < k; ++i, a += kRows, b += kCols) {
      const Lanes left = *reinterpret_cast<const Lanes*>(b);
      const Lanes right = *reinterpret_cast<const Lanes*>(b + kLanes);
#pragma GCC unroll 16
      for (size_t row = 0; row < kRows; ++row) {
        sums[row][0] += a[row] * left;
        sums[row][1] += a[row] * right;
      }
    }
#pragma GCC unroll 16
    for (size_t row = 0; row < kRows; ++row) {
      for (size_t half = 0; half < 2; ++half) {
        Lanes* to = reinterpret_cast<Lanes*>(c + row * stride + half * kLanes);
        *to = *to + sums[row][half];
      }
    }
  }
};

// e^-x for x >= 0, to 2e-7 of it: 2^n times a polynomial of the rest, |rest| <= 1/2.
inline float exp_minus(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
  const float exponent = std::min(x, 87.0f) * -1.44269504f;
  const float shifted = exponent + kRound;
  const float rest = (exponent - (shifted - kRound)) * 0.69314718f;
  const float power =
      1 + rest * (1 + rest * (0.5f + rest * (1 / 6.0f + rest * (1 / 24.0f + rest * (1 / 120.0f + rest / 720.0f)))));
  const int32_t n = std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kRound);
  return power * std::bit_cast<float>((n + 127) << 23);
}

// log(1 + x) for x in [0, 1], to 2e-6: 2 artanh(x / (2 + x)) by its series.
inline float log_plus_one(float x) {
  const float s = x / (2 + x);
  const float square = s * s;
  return 2 * s * (1 + square * (1 / 3.0f + square * (1 / 5.0f + square * (1 / 7.0f + square / 9.0f))));
}

double cross_entropy(float* logits, const float* targets, size_t count, float weight) {
  constexpr size_t kPart = 256;
  double sum = 0;
  float losses[kPart];
  for (size_t first = 0; first < count; first += kPart) {
    const size_t part = std::min(kPart, count - first);
    float* z = logits + first;
    const float* y = targets + first;
    for (size_t i = 0; i < part; ++i) {
      const float magnitude = std::fabs(z[i]);
      const float e = exp_minus(magnitude);
      const float near = 1 / (1 + e);  // the sigmoid of |z|
      const float sigmoid = z[i] >= 0 ? near : 1 - near;
      const float scale = 1 + y[i] * (weight - 1);
      losses[i] = scale * (std::max(z[i], 0.0f) - z[i] * y[i] + log_plus_one(e));
      z[i] = scale * (sigmoid - y[i]);
    }
    float part_sum = 0;
    for (size_t i = 0; i < part; ++i) part_sum += losses[i];
    sum += static_cast<double>(part_sum);
  }
  return sum;
}

void adam(float* parameters, const float* gradient, float* mean, float* square, size_t count, AdamStep step) {
  for (size_t i = 0; i < count; ++i) {
    const float g = gradient[i];
    mean[i] = kAdamBeta1 * mean[i] + (1 - kAdamBeta1) * g;
    square[i] = kAdamBeta2 * square[i] + (1 - kAdamBeta2) * g * g;
    parameters[i] -= step.rate * mean[i] / (std::sqrt(square[i] * step.second_bias) + kAdamEpsilon);
  }
}

template <size_t kLanes, size_t kRows>
constexpr TrainKernels train_table() {
  using Shape = Tile<kLanes, kRows>;
  return {kRows, Shape::kCols, &Shape::multiply, &cross_entropy, &adam};
}

}  // namespace
}  // namespace thermocline
