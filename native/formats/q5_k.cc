// Q5_K: steps and minimums, then 32 bytes of fifth bits and 128 of low nibbles. Bit p of byte i is the fifth bit of
// element i of part p; nibbles lie as in Q4_K.
#include <cstring>

#include "../kernels/blocks.h"
#include "rows.h"
#include "steps_and_minimums.h"

namespace thermocline::formats {
namespace {

constexpr StepSearch kSearch{.most = 31, .first = -0.5f, .by = 0.1f, .tries = 16};
constexpr size_t kFifthBitsAt = kAfterPacked;
constexpr size_t kNibblesAt = kFifthBitsAt + kPart;

}  // namespace

void quantize_q5_k(const float* x, uint8_t* row, size_t cols) {
  uint8_t quants[kSuperBlock];
  for (; cols > 0; cols -= kSuperBlock, x += kSuperBlock, row += kQ5_KBlockBytes) {
    fit_block(x, kSearch, row, quants);
    uint8_t* fifth = row + kFifthBitsAt;
    std::memset(fifth, 0, kPart);
    for (size_t p = 0; p < kParts; ++p) {
      for (size_t i = 0; i < kPart; ++i) {
        fifth[i] = static_cast<uint8_t>(fifth[i] | quants[p * kPart + i] >> 4 << p);
      }
    }
    uint8_t* nibbles = row + kNibblesAt;
    for (size_t p = 0; p < kParts; p += 2, nibbles += kPart) {
      const uint8_t* low = quants + p * kPart;
      for (size_t i = 0; i < kPart; ++i) nibbles[i] = static_cast<uint8_t>((low[i] & 0x0f) | low[i + kPart] << 4);
    }
  }
}

void dequantize_q5_k(const uint8_t* row, float* x, size_t cols) {
  for (; cols > 0; cols -= kSuperBlock, row += kQ5_KBlockBytes) {
    const uint8_t* fifth = row + kFifthBitsAt;
    const uint8_t* nibbles = row + kNibblesAt;
    for (size_t p = 0; p < kParts; ++p, x += kPart) {
      const auto [step, minimum] = part_of(row, p);
      const int shift = p % 2 == 0 ? 0 : 4;
      for (size_t i = 0; i < kPart; ++i) {
        const int quant = ((nibbles[i] >> shift) & 0x0f) | ((fifth[i] >> p) & 1) << 4;
        x[i] = step * static_cast<float>(quant) - minimum;
      }
      if (p % 2 == 1) nibbles += kPart;
    }
  }
}

}  // namespace thermocline::formats
