#include "convert.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "../error.h"
#include "formats.h"

namespace thermocline {
namespace {

void check_columns(WeightType type, size_t cols) {
  if (cols != 0 && cols % block_elements(type) == 0) return;
  throw Error(ErrorCode::invalid_argument,
              "cols is " + std::to_string(cols) + ": rows of " + name_of(type) + " have a multiple of " +
                  std::to_string(block_elements(type)) + " elements, and at least one block",
              "cols");
}

// Bits of |x| are ordered as the numbers are, with infinity and then the NaNs above all others.
uint32_t magnitude_bits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

std::string shown(float x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", static_cast<double>(x));
  return text;
}

void check_elements(WeightType to, std::span<const float> row) {
  uint32_t most = 0;
  for (const float x : row) most = std::max(most, magnitude_bits(x));
  if (most <= magnitude_bits(reach(to))) return;
  for (const float x : row) {
    if (!std::isfinite(x)) {
      throw Error(ErrorCode::corrupt, "an element is " + shown(x) + ", which is no weight", "source");
    }
  }
  throw Error(ErrorCode::invalid_argument,
              "an element has the magnitude " + shown(std::bit_cast<float>(most)) + ", beyond the " +
                  shown(reach(to)) + " that " + name_of(to) + " reaches",
              "to");
}

}  // namespace

std::vector<uint8_t> convert_rows(WeightType from, WeightType to, size_t cols, std::span<const uint8_t> source,
                                  const std::atomic<bool>& stop) {
  check_columns(from, cols);
  check_columns(to, cols);
  const size_t from_bytes = row_bytes(from, cols);
  const size_t to_bytes = row_bytes(to, cols);
  if (source.size() % from_bytes != 0) {
    throw Error(ErrorCode::invalid_argument,
                "source has " + std::to_string(source.size()) + " bytes: rows of " + std::to_string(cols) +
                    " elements take " + std::to_string(from_bytes) + " each as " + name_of(from),
                "source");
  }
  const size_t rows = source.size() / from_bytes;
  std::vector<uint8_t> result(rows * to_bytes);
  std::vector<float> row(cols);
  for (size_t r = 0; r < rows; ++r) {
    if (stop) throw Error(ErrorCode::cancelled, "the conversion was cancelled");
    const uint8_t* in = source.data() + r * from_bytes;
    uint8_t* out = result.data() + r * to_bytes;
    dequantize_row(from, in, row.data(), cols);
    check_elements(to, row);
    if (from == to) {
      std::memcpy(out, in, to_bytes);
    } else {
      quantize_row(to, row.data(), out, cols);
    }
  }
  return result;
}

}  // namespace thermocline
