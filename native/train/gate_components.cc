#include "gate_components.h"

#include <cmath>
#include <numeric>
#include <random>

#include "../error.h"
#include "linear_algebra.h"

namespace thermocline {
namespace {

constexpr size_t kMomentRows = 8192;
// Directions beyond those sought are lost fast; nobody misses the last digits of those that are.
constexpr int kIterations = 8;
// An f32 sum of squares cannot tell a smaller remainder from rounding.
constexpr double kLeastRemainder = 1e-5;
constexpr double kUnitRidge = 1e-3;
constexpr int kUnitIterations = 60;

// Conjugate gradients for (matrix + ridge * 1) x = right.
std::vector<float> solve(const std::vector<float>& matrix, size_t n, double ridge, const std::vector<double>& right) {
  std::vector<double> x(n), rest = right, along = right, image(n);
  double square = std::inner_product(rest.begin(), rest.end(), rest.begin(), 0.0);
  const double enough = square * 1e-10;
  for (int i = 0; i < kUnitIterations && square > enough; ++i) {
    for (size_t row = 0; row < n; ++row) {
      double sum = ridge * along[row];
      for (size_t col = 0; col < n; ++col) sum += double{matrix[row * n + col]} * along[col];
      image[row] = sum;
    }
    const double step = square / std::inner_product(along.begin(), along.end(), image.begin(), 0.0);
    for (size_t row = 0; row < n; ++row) {
      x[row] += step * along[row];
      rest[row] -= step * image[row];
    }
    const double next = std::inner_product(rest.begin(), rest.end(), rest.begin(), 0.0);
    for (size_t row = 0; row < n; ++row) along[row] = rest[row] + next / square * along[row];
    square = next;
  }
  return {x.begin(), x.end()};
}

class Basis {
 public:
  Basis(Gemm& gemm, size_t rows, size_t count)
      : gemm_(gemm), rows_(rows), count_(count), z(rows * count), other_(rows * count) {}

  // Column after column, as Gram and Schmidt do it: R of ZᵀZ = RᵀR makes Z R⁻¹ orthonormal (Cholesky QR), and twice
  // makes it so to f32's precision.
  void orthonormalize() {
    for (int pass = 0; pass < 2; ++pass) {
      normalize();
      std::vector<float> gram(count_ * count_);
      gemm_.multiply({count_, count_, rows_}, transposed(z.data(), count_), by_rows(z.data(), count_), gram.data());
      const std::vector<double> inverse =
          invert_upper(cholesky({gram.begin(), gram.end()}, count_, kLeastRemainder), count_);
      const std::vector<float> right(inverse.begin(), inverse.end());
      gemm_.multiply({rows_, count_, count_}, by_rows(z.data(), count_), by_rows(right.data(), count_), other_.data());
      z.swap(other_);
    }
  }

 private:
  void normalize() {
    std::vector<double> squares(count_);
    for (size_t i = 0; i < rows_ * count_; ++i) squares[i % count_] += double{z[i]} * z[i];
    for (double& square : squares) square = square > 0 ? 1 / std::sqrt(square) : 0;
    for (size_t i = 0; i < rows_ * count_; ++i) z[i] = static_cast<float>(z[i] * squares[i % count_]);
  }

  Gemm& gemm_;
  size_t rows_, count_;

 public:
  std::vector<float> z;  // [rows][count]

 private:
  std::vector<float> other_;
};

}  // namespace

InputMoments input_moments(Gemm& gemm, const ActivationRows& rows) {
  const size_t embd = rows.embd;
  const InputSample sample = sample_inputs(rows, kMomentRows);
  InputMoments moments{std::vector<float>(embd * embd), {}};
  gemm.multiply({embd, embd, sample.count}, transposed(sample.inputs.data(), embd),
                by_rows(sample.inputs.data(), embd), moments.second.data());
  const double share = 1 / static_cast<double>(sample.count);
  for (float& moment : moments.second) moment = static_cast<float>(moment * share);
  std::vector<double> means(embd);
  for (size_t i = 0; i < sample.inputs.size(); ++i) means[i % embd] += sample.inputs[i] * share;
  moments.unit = solve(moments.second, embd, kUnitRidge, means);
  return moments;
}

GateComponents gate_components(Gemm& gemm, const Gate& gate, size_t embd, const InputMoments& moments, size_t count,
                               uint64_t seed, const std::atomic<bool>& cancel) {
  const size_t ff = gate.weights.size() / embd;
  const Operand gate_rows = by_rows(gate.weights.data(), embd);
  const Operand gate_cols = transposed(gate.weights.data(), embd);
  std::vector<float> inner(embd * count), moved(embd * count);
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  for (float& x : moved) x = normal(random);
  Basis basis(gemm, ff, count);
  for (int i = 0; i < kIterations; ++i) {
    if (cancel) throw Error(ErrorCode::cancelled, "the training was cancelled");
    gemm.multiply({ff, count, embd}, gate_rows, by_rows(moved.data(), count), basis.z.data());
    basis.orthonormalize();
    gemm.multiply({embd, count, ff}, gate_cols, by_rows(basis.z.data(), count), inner.data());
    gemm.multiply({embd, count, embd}, by_rows(moments.second.data(), embd), by_rows(inner.data(), count),
                  moved.data());
  }
  GateComponents components{count, std::vector<float>(count * embd), basis.z, std::vector<float>(count)};
  for (size_t i = 0; i < embd; ++i) {
    for (size_t k = 0; k < count; ++k) {
      components.directions[k * embd + i] = inner[i * count + k];
      components.deviations[k] += inner[i * count + k] * moved[i * count + k];
    }
  }
  for (float& deviation : components.deviations) deviation = std::sqrt(std::max(deviation, 0.0f));
  return components;
}

}  // namespace thermocline
