// A layer whose gates are exactly of low rank: a predictor of that rank can know which neurons fire.
#pragma once

#include <cmath>
#include <random>

#include "../train/activation_rows.h"
#include "../train/gate_components.h"

namespace thermocline::test {

struct Problem {
  Gate gate;
  ActivationRows training, calibration, test;
};

inline Problem low_rank_problem(size_t embd, size_t ff, size_t rank, size_t rows, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> left(ff * rank), right(rank * embd);
  for (float& x : left) x = normal(random);
  for (float& x : right) x = normal(random);
  Problem problem{{std::vector<float>(ff * embd), 0}, {}, {}, {}};
  std::vector<float>& gate = problem.gate.weights;
  for (size_t n = 0; n < ff; ++n) {
    for (size_t k = 0; k < rank; ++k) {
      for (size_t i = 0; i < embd; ++i) gate[n * embd + i] += left[n * rank + k] * right[k * embd + i];
    }
    // Input 0 is a constant, so that a gate's weight for it is a bias.
    gate[n * embd] = -0.8f * std::sqrt(static_cast<float>(embd * rank));
  }
  const auto fill = [&](ActivationRows& set, size_t count) {
    set = {embd, ff, 0, {}, {}};
    for (size_t row = 0; row < count; ++row) {
      std::vector<float> x(embd);
      for (float& value : x) value = normal(random);
      x[0] = 1.5f;
      std::vector<uint64_t> fired(set.words());
      for (size_t n = 0; n < ff; ++n) {
        double sum = 0;
        for (size_t i = 0; i < embd; ++i) sum += double{gate[n * embd + i]} * x[i];
        if (sum > 0) fired[n / 64] |= uint64_t{1} << n % 64;
      }
      // Lengths tell nothing.
      for (float& value : x) value *= 1 + static_cast<float>(row % 7);
      set.add(x.data(), fired.data());
    }
  };
  fill(problem.training, rows);
  fill(problem.calibration, rows / 4);
  fill(problem.test, rows / 4);
  return problem;
}

}  // namespace thermocline::test
