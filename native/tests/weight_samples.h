// Rows such as weights are, and such as they are not but might be, for tests of the weight formats.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "../kernels/kernels.h"
#include "kernel_data.h"

namespace thermocline::test {

inline constexpr WeightType kWeightFormats[] = {WeightType::f32,  WeightType::f16,  WeightType::q8_0, WeightType::q4_0,
                                                WeightType::bf16, WeightType::q4_k, WeightType::q5_k, WeightType::q6_k};

struct Sample {
  std::string name;
  std::vector<float> x;
};

// Standard normal (Box and Muller).
inline float random_normal(Random& random) {
  const double u = (random_bits(random) + 1.0) * 0x1p-32;
  const double v = random_bits(random) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979 * v));
}

// Rows of `cols` elements, all of magnitudes that every format reaches.
inline std::vector<Sample> weight_samples(Random& random, size_t cols) {
  std::vector<Sample> all;
  const auto add = [&](std::string name, auto element) {
    std::vector<float> x(cols);
    for (size_t i = 0; i < cols; ++i) x[i] = element(i);
    all.push_back({std::move(name), std::move(x)});
  };
  for (const int exponent : {-24, -16, -6, -4, 0, 10}) {
    const float scale = std::ldexp(1.0f, exponent);
    add("normal times 2^" + std::to_string(exponent), [&](size_t) { return scale * random_normal(random); });
  }
  add("uniform", [&](size_t) { return random_float(random, Data::random); });
  add("zero", [](size_t) { return 0.0f; });
  add("negative zero", [](size_t) { return -0.0f; });
  add("one value", [](size_t) { return 0.7f; });
  add("one negative value", [](size_t) { return -0.7f; });
  add("positive", [&](size_t) { return std::fabs(random_normal(random)) + 0.1f; });
  add("negative", [&](size_t) { return -std::fabs(random_normal(random)) - 0.1f; });
  add("two values", [&](size_t) { return random_bits(random) % 2 == 0 ? -1.0f : 0.5f; });
  add("steps", [](size_t i) { return static_cast<float>(static_cast<int>(i % 64) - 32) / 8; });
  add("mostly zero", [&](size_t) { return random_bits(random) % 16 == 0 ? random_normal(random) : 0.0f; });
  add("an outlier a block", [&](size_t i) { return (i % 32 == 5 ? 40.0f : 0.5f) * random_normal(random); });
  add("parts of all sizes",
      [&](size_t i) { return std::ldexp(random_normal(random), static_cast<int>(i / 16 % 20) - 16); });
  add("some parts zero", [&](size_t i) { return i / 32 % 3 == 0 ? 0.0f : random_normal(random); });
  add("values close together", [&](size_t) { return -1.0f - 1e-6f * std::fabs(random_normal(random)); });
  return all;
}

}  // namespace thermocline::test
