// What Q4_K and Q5_K have in common: a block of 256 is eight parts of 32, and an element of a part is
// d * scale * quant - m * minimum, where d and m are the block's two f16 numbers and scale and minimum six-bit numbers
// of the part.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../kernels/kernels.h"

namespace thermocline::formats {

inline constexpr size_t kParts = 8;
inline constexpr size_t kPart = kSuperBlock / kParts;
static_assert(kPart == 32);

// Where they lie in either block, in bytes from its start: d, m, then the parts' scales and minimums.
inline constexpr size_t kStepAt = 0;
inline constexpr size_t kMinimumAt = 2;
inline constexpr size_t kPackedAt = 4;
inline constexpr size_t kPackedBytes = 12;
inline constexpr size_t kAfterPacked = kPackedAt + kPackedBytes;

// How the parts' steps are searched for: with one whole number `most` of them to a part's range, then with
// most + first + i * by of them for i from 0 to tries - 1.
struct StepSearch {
  int most;  // the largest quant
  float first;
  float by;
  int tries;
};

// Writes the first kAfterPacked bytes of a block for the elements x[256], and their quants.
void fit_block(const float* x, const StepSearch& search, uint8_t* block, uint8_t (&quants)[kSuperBlock]);

// Of part `part` of a block: element = step * quant - minimum.
struct StepAndMinimum {
  float step;
  float minimum;
};
StepAndMinimum part_of(const uint8_t* block, size_t part);

}  // namespace thermocline::formats
