// Q4_K, Q5_K and Q6_K for block_rows.h. Scales and minimums are unpacked for eight rows at once: each is a byte of a
// lane's integer.
#pragma once

#include "block_rows.h"

namespace thermocline {
namespace {

// Byte `index` of every lane.
__m256i byte_of(__m256i lanes, size_t index) {
  return _mm256_and_si256(_mm256_srli_epi32(lanes, static_cast<int>(8 * index)), _mm256_set1_epi32(255));
}

__m256i signed_byte_of(__m256i lanes, size_t index) {
  return _mm256_srai_epi32(_mm256_slli_epi32(lanes, static_cast<int>(24 - 8 * index)), 24);
}

// The eight 6-bit scales and minimums of a Q4_K or Q5_K block, as sub_block.h describes their 12 bytes.
class ScalesAndMinimums {
 public:
  ScalesAndMinimums(RowPointers rows, size_t offset) {
    const __m256i six = _mm256_set1_epi32(0x3f3f3f3f), four = _mm256_set1_epi32(0x0f0f0f0f);
    const __m256i two = _mm256_set1_epi32(0x30303030);
    const __m256i a = gather_ints(rows, offset), b = gather_ints(rows, offset + 4), c = gather_ints(rows, offset + 8);
    scales_[0] = _mm256_and_si256(a, six);
    minimums_[0] = _mm256_and_si256(b, six);
    scales_[1] = _mm256_or_si256(_mm256_and_si256(c, four), _mm256_and_si256(_mm256_srli_epi32(a, 2), two));
    minimums_[1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi32(c, 4), four),
                                   _mm256_and_si256(_mm256_srli_epi32(b, 2), two));
  }
  __m256i scale(size_t sub) const { return byte_of(scales_[sub / 4], sub % 4); }
  __m256i minimum(size_t sub) const { return byte_of(minimums_[sub / 4], sub % 4); }

 private:
  __m256i scales_[2], minimums_[2];
};

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
        packed_(rows, offset + kKScales) {}

  __m256 value(size_t sub, const uint8_t* x) const {
    const __m256i quants = load256(x + kActivationQuants);
    __m256i lanes[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      lanes[r] = Dot::small_by_signed(Quants::load(rows_[r] + offset_, sub), quants);
    }
    const __m256i sum = _mm256_set1_epi32(load<int32_t>(x + kActivationSum));
    const __m256i integers = _mm256_mullo_epi32(packed_.scale(sub), sums_of_small(lanes).total());
    const __m256i minimums = _mm256_mullo_epi32(packed_.minimum(sub), sum);
    return _mm256_sub_ps(_mm256_mul_ps(d_, _mm256_cvtepi32_ps(integers)),
                         _mm256_mul_ps(minimum_d_, _mm256_cvtepi32_ps(minimums)));
  }

 private:
  RowPointers rows_;
  size_t offset_;
  __m256 d_, minimum_d_;
  ScalesAndMinimums packed_;
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
    // 32 times the sums of x's halves, in every lane.
    const __m256i by_zero = Dot::small_by_signed(_mm256_set1_epi8(kQ6_KZero), quants);
    const __m256i pairs = _mm256_hadd_epi32(by_zero, by_zero);
    const __m256i zeros = _mm256_hadd_epi32(pairs, pairs);
    const Halves sums = sums_of(lanes);
    const __m256i first = _mm256_sub_epi32(sums.first, _mm256_permute2x128_si256(zeros, zeros, 0x00));
    const __m256i second = _mm256_sub_epi32(sums.second, _mm256_permute2x128_si256(zeros, zeros, 0x11));
    const __m256i scales = scales_[sub / 2];
    const size_t at = sub % 2 * 2;
    const __m256i integers = _mm256_add_epi32(_mm256_mullo_epi32(signed_byte_of(scales, at), first),
                                              _mm256_mullo_epi32(signed_byte_of(scales, at + 1), second));
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
