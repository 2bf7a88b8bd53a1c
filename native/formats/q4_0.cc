// Q4_0: blocks of 32; an f16 scale d and 16 bytes whose low nibbles are the quants q of elements 0 to 15 and whose high
// nibbles those of 16 to 31; element = d * (q - 8), with d = m / -8 where m is the element of largest magnitude, sign
// included. Quotients are taken with the scale before it is rounded to f16.
#include <algorithm>
#include <cmath>

#include "../kernels/blocks.h"
#include "../kernels/half.h"
#include "rows.h"

namespace thermocline::formats {

void quantize_q4_0(const float* x, uint8_t* row, size_t cols) {
  for (; cols > 0; cols -= kBlock, x += kBlock, row += kQ4_0BlockBytes) {
    float extreme = 0;
    for (size_t j = 0; j < kBlock; ++j) {
      if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
    }
    const float scale = extreme / -8;
    const float inverse = inverse_of(scale);
    store16(to_f16(scale), row);
    // Positive, so that cutting off the fraction rounds to nearest. 16 belongs to an element of the extreme's size and
    // the other sign.
    const auto quant = [&](float value) { return std::min(15, static_cast<int>(value * inverse + 8.5f)); };
    for (size_t j = 0; j < kBlock / 2; ++j) {
      row[kWeightQuants + j] = static_cast<uint8_t>(quant(x[j]) | quant(x[j + kBlock / 2]) << 4);
    }
  }
}

void dequantize_q4_0(const uint8_t* row, float* x, size_t cols) {
  for (; cols > 0; cols -= kBlock, x += kBlock, row += kQ4_0BlockBytes) {
    const float scale = from_f16(load16(row));
    for (size_t j = 0; j < kBlock / 2; ++j) {
      const int pair = row[kWeightQuants + j];
      x[j] = scale * static_cast<float>((pair & 0x0f) - 8);
      x[j + kBlock / 2] = scale * static_cast<float>((pair >> 4) - 8);
    }
  }
}

}  // namespace thermocline::formats
