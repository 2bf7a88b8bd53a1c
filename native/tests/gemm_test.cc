#include "../train/gemm.h"

#include <cmath>
#include <random>

#include "../train/train_instruction_sets.h"
#include "check.h"

namespace thermocline {
namespace {

std::vector<const TrainKernels*> tables() {
  std::vector<const TrainKernels*> all{&kBaselineTraining};
  for (const InstructionSet set : {InstructionSet::avx2, InstructionSet::avx512}) {
    if (kernels_for(set) != nullptr) all.push_back(&train_kernels_for(set));
  }
  return all;
}

std::vector<float> random_floats(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}

// Each element against a sum in doubles; the error of k terms summed in f32 is at most k rounding units of their
// magnitudes' sum.
void check_product(Gemm& gemm, const Extent& extent, bool a_turned, bool b_turned, bool accumulate) {
  const auto [m, n, k] = extent;
  const std::vector<float> a = random_floats(m * k, 1), b = random_floats(k * n, 2), before = random_floats(m * n, 3);
  std::vector<float> c = before;
  const Operand left = a_turned ? transposed(a.data(), m) : by_rows(a.data(), k);
  const Operand right = b_turned ? transposed(b.data(), k) : by_rows(b.data(), n);
  gemm.multiply(extent, left, right, c.data(), accumulate);
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double sum = accumulate ? before[i * n + j] : 0, magnitude = std::fabs(sum);
      for (size_t l = 0; l < k; ++l) {
        const double term = double{left.data[i * left.row_stride + l * left.col_stride]} *
                            right.data[l * right.row_stride + j * right.col_stride];
        sum += term;
        magnitude += std::fabs(term);
      }
      CHECK(std::fabs(c[i * n + j] - sum) <= magnitude * static_cast<double>(k + 2) * 0x1p-24);
    }
  }
}

TEST(products_of_odd_sizes_are_those_of_plain_sums) {
  for (const TrainKernels* kernels : tables()) {
    for (const uint32_t threads : {1u, 3u}) {
      ThreadPool pool(threads, {});
      Gemm gemm(pool, *kernels);
      for (const Extent extent : {Extent{1, 1, 1}, {2, 3, 4}, {13, 33, 7}, {12, 32, 600}, {97, 70, 515}, {5, 300, 1}}) {
        for (const bool a_turned : {false, true}) {
          for (const bool b_turned : {false, true}) check_product(gemm, extent, a_turned, b_turned, a_turned);
        }
      }
    }
  }
}

TEST(any_number_of_threads_gives_the_same_bits) {
  const std::vector<float> a = random_floats(70 * 530, 4), b = random_floats(530 * 90, 5);
  std::vector<float> expected(70 * 90);
  for (const uint32_t threads : {1u, 2u, 5u}) {
    ThreadPool pool(threads, {});
    Gemm gemm(pool, train_kernels_for(best_kernels().instruction_set));
    std::vector<float> c(70 * 90);
    gemm.multiply({70, 90, 530}, by_rows(a.data(), 530), by_rows(b.data(), 90), c.data());
    if (threads == 1) expected = c;
    CHECK(c == expected);
  }
}

TEST(cross_entropy_and_its_derivative_are_those_of_doubles) {
  for (const TrainKernels* kernels : tables()) {
    std::vector<float> logits, targets;
    for (const float z : {-100.0f, -20.0f, -5.5f, -1.0f, -1e-4f, 0.0f, 0.3f, 2.0f, 9.0f, 31.0f, 120.0f}) {
      for (const float y : {0.0f, 1.0f}) logits.push_back(z), targets.push_back(y);
    }
    constexpr double kWeight = 3;
    const std::vector<float> before = logits;
    double expected = 0;
    const double loss = kernels->cross_entropy(logits.data(), targets.data(), logits.size(), kWeight);
    for (size_t i = 0; i < logits.size(); ++i) {
      const double z = before[i], y = targets[i], scale = y == 1 ? kWeight : 1;
      const double derivative = scale * (1 / (1 + std::exp(-z)) - y);
      CHECK(std::fabs(logits[i] - derivative) <= 1e-6 * scale);
      expected += scale * (std::max(z, 0.0) - z * y + std::log1p(std::exp(-std::fabs(z))));
    }
    CHECK(std::fabs(loss - expected) <= 1e-5 * expected);
  }
}

TEST(adam_takes_the_steps_of_its_paper) {
  for (const TrainKernels* kernels : tables()) {
    std::vector<float> parameters(37, 1.0f), mean(37), square(37), gradient(37);
    double p = 1, m = 0, v = 0;
    for (int t = 1; t <= 5; ++t) {
      const double g = 0.5 - 0.2 * t;
      gradient.assign(37, static_cast<float>(g));
      m = 0.9 * m + 0.1 * g;
      v = 0.999 * v + 0.001 * g * g;
      p -= 0.01 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.999, t))) + 1e-8);
      const AdamStep step{static_cast<float>(0.01 / (1 - std::pow(0.9, t))),
                          static_cast<float>(1 / (1 - std::pow(0.999, t)))};
      kernels->adam(parameters.data(), gradient.data(), mean.data(), square.data(), 37, step);
    }
    for (const float parameter : parameters) CHECK(std::fabs(parameter - p) < 1e-5);
  }
}

}  // namespace
}  // namespace thermocline
