// 256-bit vectors: what the other files of this folder are written in, for AVX2. Files here are included by one file an
// instruction set, which is compiled for it, so they hold nothing but intrinsics and functions of their own: an inline
// function shared with other files could be kept in the version made here, which older CPUs cannot run.
#pragma once

#include <immintrin.h>

#include "../blocks.h"

namespace thermocline {
namespace {

// Pointers may be misaligned.
template <typename T>
T load(const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void store_at(T* to, size_t index, T value) {
  __builtin_memcpy(reinterpret_cast<uint8_t*>(to) + index * sizeof value, &value, sizeof value);
}

const uint8_t* bytes_of(const void* data) { return static_cast<const uint8_t*>(data); }
const uint8_t* row_of(const Activations& x, size_t index) { return bytes_of(x.data) + index * x.stride; }

__m128i load128(const uint8_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
__m256i load256(const uint8_t* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }

float sum_of(__m256 lanes) {
  __m128 part = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps(lanes, 1));
  part = _mm_add_ps(part, _mm_movehl_ps(part, part));
  return _mm_cvtss_f32(_mm_add_ss(part, _mm_movehdup_ps(part)));
}

double sum_of(__m256d lanes) {
  const __m128d part = _mm_add_pd(_mm256_castpd256_pd128(lanes), _mm256_extractf128_pd(lanes, 1));
  return _mm_cvtsd_f64(_mm_add_sd(part, _mm_unpackhi_pd(part, part)));
}

struct Lanes256 {
  static constexpr size_t kWidth = 8;
  using Floats = __m256;
  using Ints = __m256i;

  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats splat(float value) { return _mm256_set1_ps(value); }
  static Ints splat(int32_t value) { return _mm256_set1_epi32(value); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  // To whole numbers, ties to even.
  static Floats round(Floats a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Floats within(Floats a, Floats low, Floats high) { return _mm256_min_ps(_mm256_max_ps(a, low), high); }
  // a * 2^n for whole n from -126 to 127.
  static Floats times_power_of_2(Floats a, Floats n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
  }
  // 0 where x is below `low`, infinity above `high`, x where it is a NaN; else `value`.
  static Floats select_out_of_range(Floats x, Floats low, Floats high, Floats value) {
    value = _mm256_andnot_ps(_mm256_cmp_ps(x, low, _CMP_LT_OQ), value);
    value = _mm256_blendv_ps(value, _mm256_set1_ps(__builtin_inff()), _mm256_cmp_ps(x, high, _CMP_GT_OQ));
    return _mm256_blendv_ps(value, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Ints subtract(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
  static Ints either(Ints a, Ints b) { return _mm256_or_si256(a, b); }
  static Ints largest(Ints a, Ints b) { return _mm256_max_epi32(a, b); }
  static Ints subtract_words(Ints a, Ints b) { return _mm256_sub_epi16(a, b); }
  static Ints widen_bytes(__m128i a) { return _mm256_cvtepi8_epi16(a); }
  static Ints widen_unsigned_bytes(__m128i a) { return _mm256_cvtepu8_epi16(a); }
  static Ints down_by_4(Ints a) { return _mm256_srli_epi16(a, 4); }
  // All lanes out of vectors of eight: eight(0), eight(1), ...
  template <class Eight>
  static Floats of_eights(const Eight& eight) {
    return eight(0);
  }
  static Ints up_by_16(Ints a) { return _mm256_slli_epi32(a, 16); }
  static Ints down_by_16(Ints a) { return _mm256_srli_epi32(a, 16); }
  static Ints bits_of(Floats a) { return _mm256_castps_si256(a); }
  static Floats from_bits(Ints a) { return _mm256_castsi256_ps(a); }
  static Ints to_ints(Floats a) { return _mm256_cvtps_epi32(a); }
  // Bit i: whether a[i] == b[i], or a[i] < b[i].
  static uint32_t equal(Floats a, Floats b) { return mask_of(_mm256_cmp_ps(a, b, _CMP_EQ_OQ)); }
  static uint32_t less(Ints a, Ints b) { return mask_of(_mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a))); }
  static uint32_t mask_of(Floats lanes) { return static_cast<uint32_t>(_mm256_movemask_ps(lanes)); }
  // Each lane: the sum of the products of 16-bit halves.
  static Ints multiply_halves(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }

  static Floats load_floats(const uint8_t* from) { return _mm256_loadu_ps(reinterpret_cast<const float*>(from)); }
  static Floats load_halves(const uint8_t* from) { return _mm256_cvtph_ps(load128(from)); }
  static Floats load_bfloats(const uint8_t* from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load128(from)), 16));
  }
  static Ints load_ints(const uint8_t* from) { return load256(from); }
  static Floats load_int8s(__m128i from) { return to_floats(_mm256_cvtepi8_epi32(from)); }
  static void store(float* to, Floats a) { _mm256_storeu_ps(to, a); }
  static void store(int32_t* to, Ints a) { _mm256_storeu_si256(reinterpret_cast<Ints*>(to), a); }

  // Each lane: the four bytes at `from`.
  static Ints splat4(const uint8_t* from) { return _mm256_set1_epi32(load<int32_t>(from)); }
  // Each lane: its bytes that `Bytes` names, from the lowest on; 0x80 names a zero.
  template <uint32_t Bytes>
  static Ints pick(Ints a) {
    constexpr auto of = [](uint32_t lane) { return static_cast<int>(Bytes + lane * 0x04040404u); };
    return _mm256_shuffle_epi8(a, _mm256_setr_epi32(of(0), of(1), of(2), of(3), of(0), of(1), of(2), of(3)));
  }
  template <int Bits>
  static Ints shift_right(Ints a) {
    return _mm256_srai_epi32(a, Bits);
  }
  template <int Bits>
  static Ints shift_halves_right(Ints a) {
    return _mm256_srai_epi16(a, Bits);
  }
  // Moves bit `From` of every byte, and its neighbours, to bit `To`; other bits are anything.
  template <int From, int To>
  static Ints move_bits(Ints a) {
    return From < To ? _mm256_slli_epi16(a, To - From) : _mm256_srli_epi16(a, From - To);
  }
  // a | b & mask.
  static Ints with_bits(Ints a, Ints b, Ints mask) { return _mm256_or_si256(a, _mm256_and_si256(b, mask)); }
  static Ints splat_byte(int8_t value) { return _mm256_set1_epi8(value); }
  static Ints and_bits(Ints a, Ints b) { return _mm256_and_si256(a, b); }
  static Ints low_nibbles(Ints a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
  static Ints high_nibbles(Ints a) { return low_nibbles(_mm256_srli_epi16(a, 4)); }

  // The sum of sixteen lanes.
  static float total16(const Floats* lanes) { return sum_of(_mm256_add_ps(lanes[0], lanes[1])); }

  // Sums in f64, one for each lane.
  struct Wide {
    __m256d low, high;
  };
  static Wide wide_zero() { return {_mm256_setzero_pd(), _mm256_setzero_pd()}; }
  static Wide load_wide(const double* from) { return {_mm256_loadu_pd(from), _mm256_loadu_pd(from + 4)}; }
  static void store(double* to, const Wide& a) {
    _mm256_storeu_pd(to, a.low);
    _mm256_storeu_pd(to + 4, a.high);
  }
  static Wide add(const Wide& sums, Floats a) {
    return {_mm256_add_pd(sums.low, _mm256_cvtps_pd(_mm256_castps256_ps128(a))),
            _mm256_add_pd(sums.high, _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)))};
  }
  static double total(const Wide& a) { return sum_of(_mm256_add_pd(a.low, a.high)); }
  static Wide wide(Ints a) {
    return {_mm256_cvtepi32_pd(_mm256_castsi256_si128(a)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(a, 1))};
  }
  static Wide multiply_add(const Wide& a, double b, const Wide& c) {
    const __m256d factor = _mm256_set1_pd(b);
    return {_mm256_fmadd_pd(a.low, factor, c.low), _mm256_fmadd_pd(a.high, factor, c.high)};
  }
  static Wide subtract(const Wide& a, double b) {
    return {_mm256_sub_pd(a.low, _mm256_set1_pd(b)), _mm256_sub_pd(a.high, _mm256_set1_pd(b))};
  }
  static Wide add(const Wide& a, const Wide& b) {
    return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)};
  }
};

}  // namespace
}  // namespace thermocline
