#include "norm.h"

#include <cmath>
#include <cstring>

namespace thermocline {
namespace {

float element(const std::byte* floats, size_t i) {
  float value;
  std::memcpy(&value, floats + i * sizeof value, sizeof value);
  return value;
}

// Over the lanes of products of floats (kernels.h), with the same bits under every instruction set.
float sum(const float* x, size_t count) {
  float lanes[kFloatLanes] = {};
  size_t i = 0;
  for (; i + kFloatLanes <= count; i += kFloatLanes) {
    for (size_t lane = 0; lane < kFloatLanes; ++lane) lanes[lane] += x[i + lane];
  }
  for (size_t lane = 0; i < count; ++i, ++lane) lanes[lane] += x[i];
  for (size_t half = kFloatLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

}  // namespace

void normalize(const Compute& compute, const ModelShape& shape, const NormWeights& weights, const float* x, size_t rows,
               float* y) {
  const size_t cols = shape.embd;
  const auto width = static_cast<float>(cols);
  const auto multiply = compute.kernels.multiply_rows[static_cast<size_t>(WeightType::f32)];
  compute.pool.parallel_for(rows, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) {
      const float* from = x + r * cols;
      float* to = y + r * cols;
      if (shape.norm == Norm::layer) {
        const float mean = sum(from, cols) / width;
        for (size_t i = 0; i < cols; ++i) to[i] = from[i] - mean;
        from = to;
      }
      const std::byte* row = reinterpret_cast<const std::byte*>(from);
      float squares;
      multiply(&row, 1, {from, 0, 1}, cols, &squares, 1);
      const float scale = 1.0f / std::sqrt(squares / width + shape.norm_epsilon);
      for (size_t i = 0; i < cols; ++i) {
        float value = from[i] * scale;
        if (weights.weight != nullptr) value *= element(weights.weight, i);
        if (weights.bias != nullptr) value += element(weights.bias, i);
        to[i] = value;
      }
    }
  });
}

}  // namespace thermocline
