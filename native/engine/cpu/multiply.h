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

// A part of that on the calling thread: y[r * y_stride + i] = weights[first + i] · x's row r. `first` is a panel's
// first; where weights are in panels, y has room for whole ones.
void multiply_part(const Kernels& kernels, const Matrix& weights, size_t first, size_t count, const Activations& x,
                   float* y, size_t y_stride);

// The same added to y, in sums of f64, over x's columns and those `block_offset` bytes into every row of weights.
void add_part_f64(const Kernels& kernels, const Matrix& weights, size_t first, size_t count, size_t block_offset,
                  const Activations& x, size_t cols, double* y, size_t y_stride);

}  // namespace thermocline
