// Which neurons a predictor took for active: [rows][(ff + 63) / 64] words, bit n of a row for neuron n.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace thermocline {

inline constexpr size_t kActiveWordBits = 64;

constexpr size_t active_words(size_t ff) { return (ff + kActiveWordBits - 1) / kActiveWordBits; }

constexpr bool is_active(const uint64_t* row, size_t neuron) {
  return (row[neuron / kActiveWordBits] >> (neuron % kActiveWordBits) & 1) != 0;
}

// Calls visit(neuron) for the active neurons of first .. last - 1, ascending.
template <class Visit>
void for_each_active(const uint64_t* row, size_t first, size_t last, const Visit& visit) {
  for (size_t word = first / kActiveWordBits; word * kActiveWordBits < last; ++word) {
    const size_t start = word * kActiveWordBits;
    uint64_t bits = row[word];
    if (start < first) bits &= ~uint64_t{0} << (first - start);
    if (last - start < kActiveWordBits) bits &= ~(~uint64_t{0} << (last - start));
    for (; bits != 0; bits &= bits - 1) visit(start + static_cast<size_t>(std::countr_zero(bits)));
  }
}

}  // namespace thermocline
