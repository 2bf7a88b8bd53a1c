#include "multiply.h"

#include <algorithm>

namespace thermocline {
namespace {

void multiply_part(const Kernels& kernels, const Product& product, size_t begin, size_t end, const Inputs& x,
                   size_t rows) {
  const Matrix& weights = product.weights;
  const auto dot = kernels.dot[static_cast<size_t>(weights.type)];
  for (size_t tile = 0; tile < rows; tile += kRowTile) {
    const size_t tile_end = std::min(rows, tile + kRowTile);
    for (size_t i = begin; i < end; ++i) {
      for (size_t r = tile; r < tile_end; ++r) {
        product.y[r * weights.rows + i] = dot(weights.row(i), x.row(weights.type, r), x.cols);
      }
    }
  }
}

}  // namespace

Inputs prepare(const Compute& compute, const float* x, size_t rows, size_t cols,
               std::initializer_list<WeightType> types, Q8Activation* quantized) {
  if (!std::any_of(types.begin(), types.end(), Inputs::wants_quantized)) return {x, nullptr, cols};
  compute.pool.parallel_for(rows, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) compute.kernels.quantize(x + r * cols, quantized + r * (cols / kBlock), cols);
  });
  return {x, quantized, cols};
}

void add(const Compute& compute, const float* x, size_t rows, size_t cols, float* y) {
  compute.pool.parallel_for(rows, [&](size_t begin, size_t end, uint32_t) {
    for (size_t i = begin * cols; i < end * cols; ++i) y[i] += x[i];
  });
}

void multiply(const Compute& compute, std::initializer_list<Product> products, const Inputs& x, size_t rows) {
  size_t outputs = 0;
  for (const Product& product : products) outputs += product.weights.rows;
  compute.pool.parallel_for(outputs, [&](size_t begin, size_t end, uint32_t) {
    size_t first = 0;  // of this product, in the outputs of all
    for (const Product& product : products) {
      const size_t last = first + product.weights.rows;
      const size_t from = std::max(begin, first);
      const size_t to = std::min(end, last);
      if (from < to) multiply_part(compute.kernels, product, from - first, to - first, x, rows);
      first = last;
    }
  });
}

}  // namespace thermocline
