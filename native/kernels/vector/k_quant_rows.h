// Q4_K, Q5_K and Q6_K for block_rows.h. Scales and minimums are unpacked for eight rows at once: each is a byte of a
// lane's integer.
#pragma once

#include "block_rows.h"
#include "k_quant_scales.h"

namespace thermocline {
namespace {

// Byte `index` of every lane.
__m256i byte_of(__m256i lanes, size_t index) {
  return _mm256_and_si256(_mm256_srli_epi32(lanes, static_cast<int>(8 * index)), _mm256_set1_epi32(255));
}

__m256i signed_byte_of(__m256i lanes, size_t index) {
  return _mm256_srai_epi32(_mm256_slli_epi32(lanes, static_cast<int>(24 - 8 * index)), 24);
}

// Sub-block `sub`'s low four bits: the low or high nibbles of 32 bytes.
__m256i low_bits(const uint8_t* quants, size_t sub) {
  const __m256i both = load256(quants + sub / 2 * kBlock);
  return sub % 2 == 0 ? Lanes256::low_nibbles(both) : Lanes256::high_nibbles(both);
}

// Moves bit `from` of every byte, and its neighbours, to bit `to`. Loops over sub-blocks are unrolled so that this is a
// shift by a constant.
__m256i move_bits(__m256i bytes, size_t from, size_t to) {
  return from < to ? _mm256_slli_epi16(bytes, static_cast<int>(to - from))
                   : _mm256_srli_epi16(bytes, static_cast<int>(from - to));
}

struct QuantsQ4_K {
  static constexpr size_t kBytes = kQ4_KBlockBytes;
  static __m256i load(const uint8_t* block, size_t sub) { return low_bits(block + kQ4_KQuants, sub); }
};

struct QuantsQ5_K {
  static constexpr size_t kBytes = kQ5_KBlockBytes;
  static __m256i load(const uint8_t* block, size_t sub) {
    const __m256i high = move_bits(load256(block + kQ5_KHighBits), sub, 4);
    return _mm256_or_si256(low_bits(block + kQ5_KQuants, sub), _mm256_and_si256(high, _mm256_set1_epi8(1 << 4)));
  }
};

template <class Dot, class Quants>
struct RowsWithMinimums {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = Quants::kBytes;
  RowsWithMinimums(RowPointers rows, size_t offset)
      : rows_(rows),
        offset_(offset),
        d_(gather_halves(rows, offset)),
        minimum_d_(gather_halves(rows, offset + kKScaleOfMinimums)),
        packed_(gather_ints(rows, offset + kKScales), gather_ints(rows, offset + kKScales + 4),
                gather_ints(rows, offset + kKScales + 8)) {}

  __m256 value(size_t sub, const uint8_t* x) const {
    const __m256i quants = load256(x + kActivationQuants);
    __m256i lanes[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      lanes[r] = Dot::small_by_signed(Quants::load(rows_[r] + offset_, sub), quants);
    }
    const __m256i scale = byte_of(packed_.scales[sub / 4], sub % 4);
    const __m256i minimum = byte_of(packed_.minimums[sub / 4], sub % 4);
    const __m256i integers = _mm256_mullo_epi32(scale, sums_of_small(lanes).total());
    const __m256i sums = Lanes256::splat4(x + kActivationSums);
    const __m256i sum = _mm256_madd_epi16(sums, _mm256_set1_epi16(1));
    const __m256i minimums = _mm256_madd_epi16(minimum, sum);
    return _mm256_sub_ps(_mm256_mul_ps(d_, _mm256_cvtepi32_ps(integers)),
                         _mm256_mul_ps(minimum_d_, _mm256_cvtepi32_ps(minimums)));
  }

 private:
  RowPointers rows_;
  size_t offset_;
  __m256 d_, minimum_d_;
  ScalesAndMinimums<Lanes256> packed_;
};

template <class Dot>
using RowsQ4_K = RowsWithMinimums<Dot, QuantsQ4_K>;
template <class Dot>
using RowsQ5_K = RowsWithMinimums<Dot, QuantsQ5_K>;

// Sub-block `sub` of a Q6_K block, each element plus 32.
__m256i load_q6_k(const uint8_t* block, size_t sub) {
  const size_t half = sub / 4, quarter = sub % 4;
  const __m256i four = load256(block + half * (kSuperBlock / 4) + quarter % 2 * kBlock);
  const __m256i low = quarter < 2 ? Lanes256::low_nibbles(four) : Lanes256::high_nibbles(four);
  const __m256i two = move_bits(load256(block + kQ6_KHighBits + half * (kSuperBlock / 8)), 2 * quarter, 4);
  return _mm256_or_si256(low, _mm256_and_si256(two, _mm256_set1_epi8(3 << 4)));
}

template <class Dot>
struct RowsQ6_K {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = kQ6_KBlockBytes;
  RowsQ6_K(RowPointers rows, size_t offset)
      : rows_(rows), offset_(offset), d_(gather_halves(rows, offset + kQ6_KScale)) {
    for (size_t i = 0; i < 4; ++i) scales_[i] = gather_ints(rows, offset + kQ6_KScales + 4 * i);
  }

  __m256 value(size_t sub, const uint8_t* x) const {
    const __m256i quants = load256(x + kActivationQuants);
    __m256i lanes[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      lanes[r] = Dot::small_by_signed(load_q6_k(rows_[r] + offset_, sub), quants);
    }
    const Halves sums = sums_of(lanes);
    const __m256i scales = scales_[sub / 2];
    const size_t at = sub % 2 * 2;
    const __m256i first = signed_byte_of(scales, at), second = signed_byte_of(scales, at + 1);
    // 32 times the scales, beside each other as the sums of x's halves are.
    const __m256i zero_scales = _mm256_blend_epi16(_mm256_slli_epi32(first, 5), _mm256_slli_epi32(second, 21), 0xaa);
    const __m256i zeros = _mm256_madd_epi16(zero_scales, Lanes256::splat4(x + kActivationSums));
    const __m256i integers = _mm256_sub_epi32(
        _mm256_add_epi32(_mm256_mullo_epi32(first, sums.first), _mm256_mullo_epi32(second, sums.second)), zeros);
    return _mm256_mul_ps(d_, _mm256_cvtepi32_ps(integers));
  }

 private:
  RowPointers rows_;
  size_t offset_;
  __m256 d_;
  __m256i scales_[4];
};

}  // namespace
}  // namespace thermocline
