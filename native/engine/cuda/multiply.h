// y[j][r] = row r of a matrix · x[j].
#pragma once

#include "card_rows.h"
#include "stream.h"

namespace thermocline::cuda {

// `rows` rows of activations, floats for float weights, else Q8Activation blocks at a multiple of 8 bytes; x_stride counts
// them from row to row. y [rows][y_stride].
void multiply(Stream stream, const CardMatrix& matrix, const void* x, unsigned rows, unsigned x_stride, float* y,
              unsigned y_stride);

}  // namespace thermocline::cuda
