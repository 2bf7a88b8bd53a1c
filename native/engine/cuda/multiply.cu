#include "multiply.h"

#include "float_gemm.h"
#include "gemm.h"
#include "gemv.h"

namespace thermocline::cuda {
namespace {

// From so many rows of activations on gemm() and float_gemm() multiply. Up to kMostRows gemv() reads the weights once,
// as they do, which is what takes the time, and has more warps to wait for them with (eight times as many for quantized
// weights). From there on it would read them again for every eight rows. It also takes more instructions: for a term of
// quantized weights some 25 in a lane (eight dot4, ten words of activations 40 bytes apart, scales) where gemm() takes
// about six; for a float a read of its activation with each multiply-add, where float_gemm() reads once for 21.
constexpr unsigned kLeastGemmRows = kMostRows + 1;

}  // namespace

void multiply(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride, float* y,
              unsigned y_stride) {
  for_type(matrix.type, [&]<WeightType Type>() {
    if (rows < kLeastGemmRows) {
      multiply_few<Type>(stream, matrix, x, rows, x_stride, y, y_stride);
    } else if constexpr (kIsFloat<Type>) {
      multiply_many_floats<Type>(stream, matrix, static_cast<const float*>(x), rows, x_stride, y, y_stride);
    } else {
      multiply_many<Type>(stream, matrix, static_cast<const Q8Activation*>(x), rows, x_stride, y, y_stride);
    }
  });
}

}  // namespace thermocline::cuda
