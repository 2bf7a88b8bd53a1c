// Where a layer's parts come together: the residual and what is added to it, and the rows that the head takes.
#pragma once

#include "elements.h"

namespace thermocline::cuda {

inline constexpr unsigned kMostParts = 8;

// Partial sums of the FFN's output, in the order in which they are added.
struct Parts {
  const double* sums[kMostParts];
  unsigned count;
};

THERMOCLINE_KERNEL void add_parts_to(Parts parts, unsigned elements, float* y) {
  const unsigned i = element_index();
  if (i >= elements) return;
  double sum = y[i];
  for (unsigned p = 0; p < kMostParts; ++p) {
    if (p < parts.count) sum += parts.sums[p][i];
  }
  y[i] = static_cast<float>(sum);
}

// y += the sum of the parts, rounded once; y and each part have so many elements.
inline void add(Stream stream, const Parts& parts, unsigned elements, float* y) {
  launch(stream, add_parts_to, by_element(elements), parts, elements, y);
}

THERMOCLINE_KERNEL void add_floats_to(const float* x, unsigned elements, float* y) {
  const unsigned i = element_index();
  if (i < elements) y[i] += x[i];
}

// y += x
inline void add(Stream stream, const float* x, unsigned elements, float* y) {
  launch(stream, add_floats_to, by_element(elements), x, elements, y);
}

THERMOCLINE_KERNEL void gather(const float* x, const uint32_t* which, unsigned cols, float* y) {
  const unsigned i = block_index().y * block_threads() + thread_index(), row = block_index().x;
  if (i < cols) y[size_t{row} * cols + i] = x[size_t{which[row]} * cols + i];
}

// y[i] = x[which[i]], both [..][cols]; `which` is read when the kernel runs.
inline void gather_rows(Stream stream, const float* x, const uint32_t* which, unsigned rows, unsigned cols, float* y) {
  Launch shape = by_element(cols);
  shape.grid = {rows, shape.grid.x};
  launch(stream, gather, shape, x, which, cols, y);
}

}  // namespace thermocline::cuda
