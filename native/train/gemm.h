// Products of f32 matrices on all threads. Each element is summed by one thread in one order, whatever their number.
#pragma once

#include <vector>

#include "../engine/cpu/thread_pool.h"
#include "train_kernels.h"

namespace thermocline {

// Element (i, j) lies at data[i * row_stride + j * col_stride]; a transposed matrix has its strides swapped.
struct Operand {
  const float* data;
  size_t row_stride, col_stride;
};
inline Operand by_rows(const float* data, size_t cols) { return {data, cols, 1}; }
inline Operand transposed(const float* data, size_t cols) { return {data, 1, cols}; }

// m rows and n columns, with sums over k.
struct Extent {
  size_t m, n, k;
};

class Gemm {
 public:
  Gemm(ThreadPool& pool, const TrainKernels& kernels) : pool_(pool), kernels_(kernels) {}

  ThreadPool& pool() const { return pool_; }
  const TrainKernels& kernels() const { return kernels_; }

  // c [m][n] = a [m][k] · b [k][n], or += if `accumulate`.
  void multiply(const Extent& extent, const Operand& a, const Operand& b, float* c, bool accumulate = false);

 private:
  void pack(const Operand& from, size_t count, size_t width, size_t first, size_t depth, std::vector<float>& panels);
  void multiply_block(const Extent& extent, size_t depth, float* c);

  ThreadPool& pool_;
  const TrainKernels& kernels_;
  // [panels][depth][tile_rows] and [panels][depth][tile_cols]; what lies beyond the matrix is 0.
  std::vector<float> a_, b_;
};

}  // namespace thermocline
