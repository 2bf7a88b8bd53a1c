#include "multiply.h"

#include "gemm.h"
#include "gemv.h"

namespace thermocline::cuda {
namespace {

// From so many rows of activations on gemm() multiplies quantized weights. Up to kMostRows both read the weights once,
// which is what takes the time, and gemv() has eight times as many warps to wait for them with. From there on it would
// read them again for every eight rows, and compute each term with some 25 instructions in a lane (eight dot4, ten
// words of activations 40 bytes apart, scales) where gemm() takes about six.
constexpr unsigned kLeastGemmRows = kMostRows + 1;

}  // namespace

void multiply(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride, float* y,
              unsigned y_stride) {
  for_type(matrix.type, [&]<WeightType Type>() {
    // Floats stay with gemv(): no tensor core sums them as kernels.h says, in 16 lanes of fused multiply-adds.
    if constexpr (!kIsFloat<Type>) {
      if (rows >= kLeastGemmRows) {
        multiply_many<Type>(stream, matrix, static_cast<const Q8Activation*>(x), rows, x_stride, y, y_stride);
        return;
      }
    }
    multiply_few<Type>(stream, matrix, x, rows, x_stride, y, y_stride);
  });
}

}  // namespace thermocline::cuda
