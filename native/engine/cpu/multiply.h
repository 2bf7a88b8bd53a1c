// Products and sums over a few rows of activations. A row's bits are the same whatever else is in the step.
#pragma once

#include <initializer_list>
#include <span>

#include "matrix.h"

namespace thermocline {

// x [rows][cols] for weights of `types`, quantized into `quantized` [rows][cols / 32] if one of them wants it.
Inputs prepare(const Compute& compute, const float* x, size_t rows, size_t cols,
               std::initializer_list<WeightType> types, Q8Activation* quantized);

struct Product {
  const Matrix& weights;
  float* y;  // [rows][weights.rows]
};

// y += x, both [rows][cols].
void add(const Compute& compute, const float* x, size_t rows, size_t cols, float* y);

// y += the sum of `parts`, rounded once; y and each part are [rows][cols].
void add(const Compute& compute, std::span<const double* const> parts, size_t rows, size_t cols, float* y);

// y[r][i] = weights[i] · x[r], for several matrices of the same inputs in one phase.
void multiply(const Compute& compute, std::initializer_list<Product> products, const Inputs& x, size_t rows);

}  // namespace thermocline
