// Q4_K: steps and minimums, then 128 bytes of quants. Each 32 bytes hold 64 elements, the first 32 in the low nibbles.
#include "../kernels/blocks.h"
#include "rows.h"
#include "steps_and_minimums.h"

namespace thermocline::formats {
namespace {

constexpr StepSearch kSearch{.most = 15, .first = -1.0f, .by = 0.1f, .tries = 21};

}  // namespace

void quantize_q4_k(const float* x, uint8_t* row, size_t cols) {
  uint8_t quants[kSuperBlock];
  for (; cols > 0; cols -= kSuperBlock, x += kSuperBlock, row += kQ4_KBlockBytes) {
    fit_block(x, kSearch, row, quants);
    uint8_t* nibbles = row + kAfterPacked;
    for (size_t p = 0; p < kParts; p += 2, nibbles += kPart) {
      const uint8_t* low = quants + p * kPart;
      for (size_t i = 0; i < kPart; ++i) nibbles[i] = static_cast<uint8_t>(low[i] | low[i + kPart] << 4);
    }
  }
}

void dequantize_q4_k(const uint8_t* row, float* x, size_t cols) {
  for (; cols > 0; cols -= kSuperBlock, row += kQ4_KBlockBytes) {
    const uint8_t* nibbles = row + kAfterPacked;
    for (size_t p = 0; p < kParts; ++p, x += kPart) {
      const auto [step, minimum] = part_of(row, p);
      const int shift = p % 2 == 0 ? 0 : 4;
      for (size_t i = 0; i < kPart; ++i) {
        x[i] = step * static_cast<float>((nibbles[i] >> shift) & 0x0f) - minimum;
      }
      if (p % 2 == 1) nibbles += kPart;
    }
  }
}

}  // namespace thermocline::formats
