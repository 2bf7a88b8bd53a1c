#include "rope.h"

#include <cmath>
#include <cstring>

namespace thermocline {

Rope::Rope(const ModelShape& shape, size_t rows, MemoryLayout& scratch)
    : pairs_(shape.rope_dims / 2),
      arrangement_(shape.rope_pairs),
      frequencies_(scratch.take<double>(rows > 0 ? pairs_ : 0)),
      turns_(scratch.take<Turn>(checked_product({rows, pairs_}))) {}

void Rope::set_frequencies(const ModelShape& shape, const std::byte* factors) {
  for (size_t i = 0; i < pairs_; ++i) {
    float factor = 1;
    if (factors != nullptr) std::memcpy(&factor, factors + i * sizeof factor, sizeof factor);
    const double exponent = -2.0 * static_cast<double>(i) / shape.rope_dims;
    frequencies_[i] = shape.rope_scale * std::pow(static_cast<double>(shape.rope_base), exponent) / factor;
  }
}

void Rope::turn_to(const Step& step) {
  for (size_t r = 0; r < step.rows; ++r) {
    for (size_t i = 0; i < pairs_; ++i) {
      // In doubles: at position 100,000 a float's angle would be off by 0.004 radians.
      const double angle = step.row[r].position * frequencies_[i];
      turns_[r * pairs_ + i] = {static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
    }
  }
}

void Rope::rotate(size_t row, float* head) const {
  const Turn* turn = turns_ + row * pairs_;
  for (size_t i = 0; i < pairs_; ++i) {
    float& first = arrangement_ == RopePairs::adjacent ? head[2 * i] : head[i];
    float& second = arrangement_ == RopePairs::adjacent ? head[2 * i + 1] : head[i + pairs_];
    const float a = first;
    const float b = second;
    first = a * turn[i].cos - b * turn[i].sin;
    second = a * turn[i].sin + b * turn[i].cos;
  }
}

}  // namespace thermocline
