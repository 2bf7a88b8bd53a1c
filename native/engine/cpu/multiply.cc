#include "multiply.h"

#include <algorithm>

namespace thermocline {
namespace {

// Elements whose sums stay in the L1 cache while one part after the other is read: 2 KiB.
constexpr size_t kElementsAtATime = 256;

// Weights that a thread takes at a time: 10 us of reading, against some 50 ns for taking them, and short enough that
// threads finish together.
constexpr size_t kBytesAtATime = 256 << 10;

// Panels that kernels read side by side.
constexpr size_t kStreams = 4;

size_t groups_of(const Matrix& weights) { return (weights.rows + kPanelRows - 1) / kPanelRows; }

// Rows whose pointers kernels get at a time: they ask for the next rows as long as they know them.
constexpr size_t kRowsAtATime = 64;

// Calls use(row pointers, how many, number of the first).
template <class Use>
void for_rows(const Matrix& weights, size_t first, size_t count, size_t block_offset, const Use& use) {
  const std::byte* rows[kRowsAtATime];
  for (size_t i = 0; i < count; i += kRowsAtATime) {
    const size_t some = std::min(kRowsAtATime, count - i);
    for (size_t r = 0; r < some; ++r) rows[r] = weights.row(first + i + r) + block_offset;
    use(rows, some, i);
  }
}

}  // namespace

Inputs prepare(const Compute& compute, const float* x, size_t rows, size_t cols,
               std::initializer_list<WeightType> types, Q8Activation* quantized) {
  if (!std::any_of(types.begin(), types.end(), wants_quantized_activation)) return {x, nullptr, cols};
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

void multiply_part(const Kernels& kernels, const Matrix& weights, size_t first, size_t count, const Activations& x,
                   float* y, size_t y_stride) {
  const size_t type = static_cast<size_t>(weights.type);
  if (weights.layout == Layout::panels) {
    kernels.multiply_panels[type](weights.panels(first, count), x, weights.cols, y, y_stride);
    return;
  }
  for_rows(weights, first, count, 0, [&](const std::byte* const* rows, size_t some, size_t at) {
    kernels.multiply_rows[type](rows, some, x, weights.cols, y + at, y_stride);
  });
}

void add_part_f64(const Kernels& kernels, const Matrix& weights, size_t first, size_t count, size_t block_offset,
                  const Activations& x, size_t cols, double* y, size_t y_stride) {
  const size_t type = static_cast<size_t>(weights.type);
  if (weights.layout == Layout::panels) {
    Panels panels = weights.panels(first, count);
    panels.data += kPanelRows * block_offset;
    kernels.add_panels_f64[type](panels, x, cols, y, y_stride);
    return;
  }
  for_rows(weights, first, count, block_offset, [&](const std::byte* const* rows, size_t some, size_t at) {
    kernels.add_rows_f64[type](rows, some, x, cols, y + at, y_stride);
  });
}

void multiply(const Compute& compute, std::initializer_list<Product> products, const Inputs& x, size_t rows) {
  size_t groups = 0;
  uint64_t bytes = 0;
  for (const Product& product : products) {
    groups += groups_of(product.weights);
    bytes += product.weights.bytes();
  }
  const size_t grain = std::max<size_t>(1, groups * kBytesAtATime / std::max<uint64_t>(1, bytes) / kStreams * kStreams);
  compute.pool.parallel_chunks(groups, grain, [&](size_t begin, size_t end, uint32_t) {
    size_t before = 0;  // groups of the products before this one
    for (const Product& product : products) {
      const Matrix& weights = product.weights;
      const size_t after = before + groups_of(weights);
      const size_t from = std::max(begin, before), to = std::min(end, after);
      if (from < to) {
        const size_t first = (from - before) * kPanelRows;
        const size_t last = std::min<size_t>((to - before) * kPanelRows, weights.rows);
        multiply_part(compute.kernels, weights, first, last - first, x.rows(weights.type, 0, rows), product.y + first,
                      weights.rows);
      }
      before = after;
    }
  });
}

}  // namespace thermocline
