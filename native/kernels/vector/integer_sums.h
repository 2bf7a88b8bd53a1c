// Scaled sums of rows of blocks. A scale times a block's own has 12 bits, so that those of up to 16 rows, put on one
// exponent, are whole numbers below 2^30, and sums of their products with quants are exact in integers: each is split
// into two digits of 16 bits, and one instruction multiplies and adds those of two rows. Where the rows' scales lie too
// far apart for that, the same sums are taken in f64.
#pragma once

#include "ahead.h"
#include "unpacked_blocks.h"

namespace thermocline {
namespace {

// Lanes of two 16-bit numbers: the quants of two rows, for a block of 32 columns.
template <class Lanes>
struct Pairs {
  static constexpr size_t kVectors = kBlock / Lanes::kWidth;
  typename Lanes::Ints lanes[kVectors];
};

template <class Lanes>
Pairs<Lanes> pairs_of_bytes(__m256i a, __m256i b) {
  const __m256i even = _mm256_unpacklo_epi8(a, b);  // columns 0 to 7, 16 to 23
  const __m256i odd = _mm256_unpackhi_epi8(a, b);   // 8 to 15, 24 to 31
  if constexpr (Pairs<Lanes>::kVectors == 2) {
    return {{Lanes::widen_bytes(_mm256_permute2x128_si256(even, odd, 0x20)),
             Lanes::widen_bytes(_mm256_permute2x128_si256(even, odd, 0x31))}};
  } else {
    return {{Lanes::widen_bytes(_mm256_castsi256_si128(even)), Lanes::widen_bytes(_mm256_castsi256_si128(odd)),
             Lanes::widen_bytes(_mm256_extracti128_si256(even, 1)),
             Lanes::widen_bytes(_mm256_extracti128_si256(odd, 1))}};
  }
}

template <class Lanes, class Block>
struct PairsOf {
  static Pairs<Lanes> of(const uint8_t* a, const uint8_t* b, size_t sub) {
    return pairs_of_bytes<Lanes>(Block::quants(a, sub), Block::quants(b, sub));
  }
};

// Nibbles are widened while they are packed, which takes half as many instructions.
template <class Lanes>
struct PairsOf<Lanes, BlockQ4_0> {
  static Pairs<Lanes> of(const uint8_t* a, const uint8_t* b, size_t) {
    const __m128i packed_a = load128(a + kWeightQuants), packed_b = load128(b + kWeightQuants);
    const __m128i even = _mm_unpacklo_epi8(packed_a, packed_b), odd = _mm_unpackhi_epi8(packed_a, packed_b);
    Pairs<Lanes> pairs;
    if constexpr (Pairs<Lanes>::kVectors == 2) {
      split(_mm256_set_m128i(odd, even), pairs.lanes[0], pairs.lanes[1]);
    } else {
      split(even, pairs.lanes[0], pairs.lanes[2]);
      split(odd, pairs.lanes[1], pairs.lanes[3]);
    }
    return pairs;
  }

 private:
  using Ints = typename Lanes::Ints;
  template <class Bytes>
  static void split(Bytes packed, Ints& low, Ints& high) {
    const Ints words = Lanes::widen_unsigned_bytes(packed), zero = Lanes::splat(0x00080008);
    low = Lanes::subtract_words(Lanes::low_nibbles(words), zero);
    high = Lanes::subtract_words(Lanes::down_by_4(words), zero);
  }
};

// To kSumBits significant bits, halves away from 0; what is no number stays so.
template <class Lanes>
typename Lanes::Floats rounded(typename Lanes::Floats a) {
  constexpr int kDropped = __FLT_MANT_DIG__ - kSumBits;
  const auto half = Lanes::splat(1 << (kDropped - 1)), mask = Lanes::splat(-(1 << kDropped));
  return Lanes::from_bits(Lanes::and_bits(Lanes::add(Lanes::bits_of(a), half), mask));
}

// Up to sixteen rows.
template <class Lanes, class Dot, class Block>
class IntegerSums {
 public:
  IntegerSums(const float* scales, const std::byte* const* rows, size_t count)
      : rows_(rows), count_(count), pairs_((count + 1) / 2) {
    for (size_t i = 0; i < count; ++i) {
      // Adding to the bits of a NaN must not carry them beyond.
      scales_[i] = scales[i] == scales[i] ? scales[i] : __builtin_nanf("");
    }
  }

  void add_to(double* y, size_t cols) {
    constexpr size_t kTile = kWidth * Block::kScaleElements;
    AskAhead ahead(rows_, count_);
    for (size_t c = 0; c < cols; c += kTile) {
      const size_t last = cols - c < kTile ? cols : c + kTile;
      take_scales(c, (last - c) / Block::kScaleElements);
      for (size_t at = c; at < last; at += kBlock) {
        const size_t group = (at - c) / Block::kScaleElements;
        ahead.to(offset_of(at));
        if ((exact_ >> group & kGroupMask) == kGroupMask) {
          add_integers(y + at, at, group);
        } else {
          add_floats(y + at, at, group);
        }
      }
    }
  }

 private:
  using Floats = typename Lanes::Floats;
  using Ints = typename Lanes::Ints;
  static constexpr size_t kWidth = Lanes::kWidth;
  static constexpr size_t kVectors = kBlock / kWidth;
  static constexpr size_t kGroups = kBlock / Block::kScaleElements;  // of one scale, in a block of 32
  static constexpr uint32_t kGroupMask = (1u << kGroups) - 1;
  static constexpr int kExponent = 1 << 23;  // of a float's bits
  static constexpr int kBits = 29;           // numbers below 2 are made whole ones below 2^30
  static constexpr int32_t kLargest = (127 + 119) * kExponent;

  static size_t offset_of(size_t c) { return c / Block::kElements * Block::kBytes; }
  const uint8_t* block_at(size_t row, size_t c) const { return bytes_of(rows_[row]) + offset_of(c); }
  static size_t group_of(size_t group, size_t v) { return group + v * kGroups / kVectors; }

  // The scales of `groups` groups of columns from c on.
  void take_scales(size_t c, size_t groups) {
    Ints most = Lanes::splat(0);
    const auto rounded_eights = [&](size_t row, const auto& eight, float* to) {
      const Floats value = rounded<Lanes>(Lanes::multiply(Lanes::splat(scales_[row]), Lanes::of_eights([&](size_t i) {
        return i * 8 < groups ? eight(c + i * 8 * Block::kScaleElements, groups - i * 8) : _mm256_setzero_ps();
      })));
      Lanes::store(to, value);
      most = Lanes::largest(most, Lanes::and_bits(Lanes::bits_of(value), Lanes::splat(0x7fffffff)));
    };
    for (size_t i = 0; i < count_; ++i) {
      rounded_eights(
          i, [&](size_t at, size_t n) { return Block::eight_scales(block_at(i, at), at, n); }, scale_[i]);
      if constexpr (Block::kHasMinimum) {
        rounded_eights(i, [&](size_t at, size_t) { return Block::eight_minimums(block_at(i, at)); }, minimum_[i]);
      }
    }
    if (count_ % 2 != 0) Lanes::store(scale_[count_], Lanes::zero());
    to_integers(most);
  }

  // Makes whole numbers of them, in units of a power of two for each group.
  void to_integers(Ints most) {
    exact_ = Lanes::less(most, Lanes::splat(kLargest));
    // 2^(29 - e) for the exponent e of the largest, as far as that is an ordinary float, and its inverse.
    const Ints exponents = Lanes::largest(Lanes::and_bits(most, Lanes::splat(255 * kExponent)),
                                          Lanes::splat((kBits + 1) * kExponent));
    const Ints factor_bits = Lanes::subtract(Lanes::splat(static_cast<int32_t>((254u + kBits) << 23)), exponents);
    const Floats factor = Lanes::from_bits(factor_bits);
    const Floats unit = Lanes::from_bits(Lanes::subtract(Lanes::splat(254 * kExponent), factor_bits));
    Lanes::store(unit_, Lanes::add(Lanes::wide_zero(), unit));
    const auto whole = [&](const float* from) {
      const Floats scaled = Lanes::multiply(Lanes::load_floats(bytes_of(from)), factor);
      const Ints integers = Lanes::to_ints(scaled);
      exact_ &= Lanes::equal(Lanes::to_floats(integers), scaled);
      return integers;
    };
    for (size_t p = 0; p < pairs_; ++p) {
      const Ints a = whole(scale_[2 * p]), b = whole(scale_[2 * p + 1]);
      const Ints low = Lanes::splat(0xffff), round = Lanes::splat(0x8000), high = Lanes::splat(~0xffff);
      Lanes::store(low_[p], Lanes::either(Lanes::and_bits(a, low), Lanes::up_by_16(b)));
      Lanes::store(high_[p], Lanes::either(Lanes::down_by_16(Lanes::add(a, round)),
                                           Lanes::and_bits(Lanes::add(b, round), high)));
    }
    if constexpr (Block::kHasMinimum) {
      auto sum = Lanes::wide_zero();
      for (size_t i = 0; i < count_; ++i) sum = Lanes::add(sum, Lanes::wide(whole(minimum_[i])));
      Lanes::store(minimums_, sum);
    }
  }

  void add_integers(double* y, size_t c, size_t group) const {
    const size_t sub = c % Block::kElements / kBlock;
    Ints low[kVectors], high[kVectors];
    for (size_t v = 0; v < kVectors; ++v) low[v] = high[v] = Lanes::splat(0);
    for (size_t p = 0; p < pairs_; ++p) {
      const size_t second = 2 * p + 1 < count_ ? 2 * p + 1 : 2 * p;
      const auto quants = PairsOf<Lanes, Block>::of(block_at(2 * p, c), block_at(second, c), sub);
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t g = group_of(group, v);
        low[v] = Dot::add_words(low[v], quants.lanes[v], Lanes::splat(low_[p][g]));
        high[v] = Dot::add_words(high[v], quants.lanes[v], Lanes::splat(high_[p][g]));
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      const size_t g = group_of(group, v);
      auto sum = Lanes::multiply_add(Lanes::wide(high[v]), 0x1p16, Lanes::wide(low[v]));
      if constexpr (Block::kHasMinimum) sum = Lanes::subtract(sum, minimums_[g]);
      Lanes::store(y + v * kWidth, Lanes::multiply_add(sum, unit_[g], Lanes::load_wide(y + v * kWidth)));
    }
  }

  void add_floats(double* y, size_t c, size_t group) const {
    typename Lanes::Wide sums[kVectors];
    for (auto& sum : sums) sum = Lanes::wide_zero();
    for (size_t i = 0; i < count_; ++i) {
      const __m256i quants = Block::quants(block_at(i, c), c % Block::kElements / kBlock);
      for (size_t v = 0; v < kVectors; ++v) {
        const size_t g = group_of(group, v);
        // In f64, for a product may leave the range of floats.
        sums[v] = Lanes::multiply_add(Lanes::add(Lanes::wide_zero(), vector_of<Lanes>(quants, v)), scale_[i][g], sums[v]);
        if constexpr (Block::kHasMinimum) sums[v] = Lanes::subtract(sums[v], double{minimum_[i][g]});
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      Lanes::store(y + v * kWidth, Lanes::add(Lanes::load_wide(y + v * kWidth), sums[v]));
    }
  }

  const std::byte* const* rows_;
  size_t count_, pairs_;
  float scales_[kSumRows];
  float scale_[kSumRows][kWidth];
  float minimum_[Block::kHasMinimum ? kSumRows : 1][kWidth];
  int32_t low_[kSumRows / 2][kWidth], high_[kSumRows / 2][kWidth];
  double unit_[kWidth];
  double minimums_[kWidth];
  uint32_t exact_ = 0;  // bit g: group g's scales are whole numbers
};

template <class Lanes, class Dot, class Block>
void accumulate_blocks(const float* scales, const std::byte* const* rows, size_t count, double* y, size_t cols) {
  for (size_t i = 0; i < count; i += kSumRows) {
    const size_t some = count - i < kSumRows ? count - i : kSumRows;
    IntegerSums<Lanes, Dot, Block>(scales + i, rows + i, some).add_to(y, cols);
  }
}

}  // namespace
}  // namespace thermocline
