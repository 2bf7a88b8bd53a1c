#include "multiply.h"

#include <algorithm>

namespace thermocline {
namespace {

// Elements whose sums stay in the L1 cache while one part after the other is read: 2 KiB.
constexpr size_t kElementsAtATime = 256;

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

void add(const Compute& compute, std::span<const double* const> parts, size_t rows, size_t cols, float* y) {
  const size_t elements = rows * cols;
  const size_t pieces = (elements + kElementsAtATime - 1) / kElementsAtATime;
  compute.pool.parallel_for(pieces, [&](size_t begin, size_t end, uint32_t) {
    double sums[kElementsAtATime];
    for (size_t piece = begin; piece < end; ++piece) {
      const size_t first = piece * kElementsAtATime;
      const size_t count = std::min(kElementsAtATime, elements - first);
      std::copy_n(y + first, count, sums);
      for (const double* part : parts) {
        for (size_t i = 0; i < count; ++i) sums[i] += part[first + i];
      }
      for (size_t i = 0; i < count; ++i) y[first + i] = static_cast<float>(sums[i]);
    }
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
