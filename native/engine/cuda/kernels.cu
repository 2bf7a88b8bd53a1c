// Everything that runs on a card, for nvcc.
#include "gemv.h"

namespace thermocline::cuda {

void multiply_on_card(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride,
                      float* y, unsigned y_stride) {
  multiply(stream, matrix, x, rows, x_stride, y, y_stride);
}

}  // namespace thermocline::cuda
