#include "rms_norm.h"

#include <cmath>
#include <cstring>

namespace thermocline {

void rms_norm(const Compute& compute, const float* x, const std::byte* weight, float epsilon, size_t rows, size_t cols,
              float* y) {
  const auto multiply = compute.kernels.multiply_rows[static_cast<size_t>(WeightType::f32)];
  compute.pool.parallel_for(rows, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) {
      const float* from = x + r * cols;
      float* to = y + r * cols;
      const std::byte* row = reinterpret_cast<const std::byte*>(from);
      float squares;
      multiply(&row, 1, {from, 0, 1}, cols, &squares, 1);
      const float mean_square = squares / static_cast<float>(cols);
      const float scale = 1.0f / std::sqrt(mean_square + epsilon);
      for (size_t i = 0; i < cols; ++i) {
        float w;
        std::memcpy(&w, weight + i * sizeof w, sizeof w);
        to[i] = from[i] * scale * w;
      }
    }
  });
}

}  // namespace thermocline
