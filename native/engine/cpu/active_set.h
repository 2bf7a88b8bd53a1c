// Which neurons a predictor took for active: [rows][(ff + 63) / 64] words, bit n of a row for neuron n.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thermocline {

inline constexpr size_t kActiveWordBits = 64;

inline size_t active_words(size_t ff) { return (ff + kActiveWordBits - 1) / kActiveWordBits; }

inline bool is_active(const uint64_t* row, size_t neuron) {
  return (row[neuron / kActiveWordBits] >> (neuron % kActiveWordBits) & 1) != 0;
}

}  // namespace thermocline
