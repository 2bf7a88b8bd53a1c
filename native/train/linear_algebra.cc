#include "linear_algebra.h"

#include <cmath>

namespace thermocline {

std::vector<double> cholesky(const std::vector<double>& matrix, size_t n, double tolerance) {
  std::vector<double> upper(n * n);
  std::vector<double> row(n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i; j < n; ++j) row[j] = matrix[i * n + j];
    for (size_t k = 0; k < i; ++k) {
      const double factor = upper[k * n + i];
      if (factor == 0) continue;
      for (size_t j = i; j < n; ++j) row[j] -= factor * upper[k * n + j];
    }
    if (row[i] <= tolerance * matrix[i * n + i]) continue;
    const double pivot = std::sqrt(row[i]);
    for (size_t j = i; j < n; ++j) upper[i * n + j] = row[j] / pivot;
  }
  return upper;
}

std::vector<double> invert_upper(const std::vector<double>& upper, size_t n) {
  std::vector<double> inverse(n * n);
  // Row i of the inverse: e_i = sum over k of R(i, k) times row k.
  for (size_t i = n; i-- > 0;) {
    const double pivot = upper[i * n + i];
    if (pivot == 0) continue;
    double* row = inverse.data() + i * n;
    for (size_t k = i + 1; k < n; ++k) {
      const double factor = upper[i * n + k];
      if (factor == 0) continue;
      for (size_t j = k; j < n; ++j) row[j] -= factor * inverse[k * n + j];
    }
    row[i] = 1;
    for (size_t j = i; j < n; ++j) row[j] /= pivot;
  }
  return inverse;
}

std::vector<double> solve_ridge(std::vector<double> matrix, size_t n, double ridge, const std::vector<double>& right) {
  double trace = 0;
  for (size_t i = 0; i < n; ++i) trace += matrix[i * n + i];
  for (size_t i = 0; i < n; ++i) matrix[i * n + i] += ridge * trace / static_cast<double>(n);
  const std::vector<double> upper = cholesky(matrix, n, 0);
  std::vector<double> x = right;
  for (size_t i = 0; i < n; ++i) {
    const double pivot = upper[i * n + i];
    x[i] = pivot > 0 ? x[i] / pivot : 0;
    for (size_t j = i + 1; j < n; ++j) x[j] -= upper[i * n + j] * x[i];
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t j = i + 1; j < n; ++j) x[i] -= upper[i * n + j] * x[j];
    const double pivot = upper[i * n + i];
    x[i] = pivot > 0 ? x[i] / pivot : 0;
  }
  return x;
}

}  // namespace thermocline
