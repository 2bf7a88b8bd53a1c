// Q8_0: blocks of 32; an f16 scale d and 32 signed bytes q; element = d * q, with d = max|x| / 127. Quotients are taken
// with the scale before it is rounded to f16, and their halves are rounded away from zero.
#include <algorithm>
#include <cmath>

#include "../kernels/blocks.h"
#include "../kernels/half.h"
#include "rows.h"

namespace thermocline::formats {

void quantize_q8_0(const float* x, uint8_t* row, size_t cols) {
  for (; cols > 0; cols -= kBlock, x += kBlock, row += kQ8_0BlockBytes) {
    float most = 0;
    for (size_t j = 0; j < kBlock; ++j) most = std::max(most, std::fabs(x[j]));
    const float scale = most / 127;
    const float inverse = inverse_of(scale);
    store16(to_f16(scale), row);
    for (size_t j = 0; j < kBlock; ++j) {
      row[kWeightQuants + j] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[j] * inverse)));
    }
  }
}

void dequantize_q8_0(const uint8_t* row, float* x, size_t cols) {
  for (; cols > 0; cols -= kBlock, x += kBlock, row += kQ8_0BlockBytes) {
    const float scale = from_f16(load16(row));
    for (size_t j = 0; j < kBlock; ++j) x[j] = scale * static_cast<float>(static_cast<int8_t>(row[kWeightQuants + j]));
  }
}

}  // namespace thermocline::formats
