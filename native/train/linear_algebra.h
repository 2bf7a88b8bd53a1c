// Small dense problems, in 64-bit floats, on one thread.
#pragma once

#include <cstddef>
#include <vector>

namespace thermocline {

// The upper triangle R of the Cholesky decomposition RᵀR of a symmetric positive semi-definite matrix [n][n]. A column
// that depends on those before it, but for `tolerance` of its square, gets a row of zeros with a pivot of 0.
std::vector<double> cholesky(const std::vector<double>& matrix, size_t n, double tolerance);

// R's inverse, with zeros for rows and columns whose pivot is 0.
std::vector<double> invert_upper(const std::vector<double>& upper, size_t n);

// x of (matrix + ridge * mean(diagonal) * 1) x = right.
std::vector<double> solve_ridge(std::vector<double> matrix, size_t n, double ridge, const std::vector<double>& right);

}  // namespace thermocline
