// 512-bit vectors, as lanes256.h has them, for AVX-512 (F, BW, DQ, VL).
#pragma once

#include "lanes256.h"

namespace thermocline {
namespace {

struct Lanes512 {
  static constexpr size_t kWidth = 16;
  using Floats = __m512;
  using Ints = __m512i;

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats splat(float value) { return _mm512_set1_ps(value); }
  static Ints splat(int32_t value) { return _mm512_set1_epi32(value); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats round(Floats a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Floats within(Floats a, Floats low, Floats high) { return _mm512_min_ps(_mm512_max_ps(a, low), high); }
  static Floats times_power_of_2(Floats a, Floats n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
    return _mm512_mul_ps(a, _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23)));
  }
  static Floats select_out_of_range(Floats x, Floats low, Floats high, Floats value) {
    value = _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, low, _CMP_LT_OQ), _mm512_setzero_ps());
    const __m512 infinity = _mm512_set1_ps(__builtin_inff());
    value = _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, high, _CMP_GT_OQ), infinity);
    return _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
  }
  static Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints subtract(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints either(Ints a, Ints b) { return _mm512_or_si512(a, b); }
  static Ints largest(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
  static Ints subtract_words(Ints a, Ints b) { return _mm512_sub_epi16(a, b); }
  static Ints widen_bytes(__m256i a) { return _mm512_cvtepi8_epi16(a); }
  static Ints widen_unsigned_bytes(__m256i a) { return _mm512_cvtepu8_epi16(a); }
  static Ints down_by_4(Ints a) { return _mm512_srli_epi16(a, 4); }
  template <class Eight>
  static Floats of_eights(const Eight& eight) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(eight(0)), eight(1), 1);
  }
  static Ints up_by_16(Ints a) { return _mm512_slli_epi32(a, 16); }
  static Ints down_by_16(Ints a) { return _mm512_srli_epi32(a, 16); }
  static Ints bits_of(Floats a) { return _mm512_castps_si512(a); }
  static Floats from_bits(Ints a) { return _mm512_castsi512_ps(a); }
  static Ints to_ints(Floats a) { return _mm512_cvtps_epi32(a); }
  static uint32_t equal(Floats a, Floats b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
  static uint32_t less(Ints a, Ints b) { return _mm512_cmplt_epi32_mask(a, b); }
  static Ints multiply_halves(Ints a, Ints b) { return _mm512_madd_epi16(a, b); }

  static Floats load_floats(const uint8_t* from) { return _mm512_loadu_ps(from); }
  static Floats load_halves(const uint8_t* from) { return _mm512_cvtph_ps(load256(from)); }
  static Floats load_bfloats(const uint8_t* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(from)), 16));
  }
  static Ints load_ints(const uint8_t* from) { return _mm512_loadu_si512(from); }
  static Floats load_int8s(__m128i from) { return to_floats(_mm512_cvtepi8_epi32(from)); }
  static void store(float* to, Floats a) { _mm512_storeu_ps(to, a); }
  static void store(int32_t* to, Ints a) { _mm512_storeu_si512(to, a); }

  static Ints splat4(const uint8_t* from) { return _mm512_set1_epi32(load<int32_t>(from)); }
  template <uint32_t Bytes>
  static Ints pick(Ints a) {
    constexpr auto of = [](uint32_t lane) { return static_cast<int>(Bytes + lane * 0x04040404u); };
    return _mm512_shuffle_epi8(a, _mm512_setr4_epi32(of(0), of(1), of(2), of(3)));
  }
  template <int Bits>
  static Ints shift_right(Ints a) {
    return _mm512_srai_epi32(a, Bits);
  }
  template <int Bits>
  static Ints shift_halves_right(Ints a) {
    return _mm512_srai_epi16(a, Bits);
  }
  template <int From, int To>
  static Ints move_bits(Ints a) {
    return From < To ? _mm512_slli_epi16(a, static_cast<unsigned>(To - From))
                     : _mm512_srli_epi16(a, static_cast<unsigned>(From - To));
  }
  static Ints with_bits(Ints a, Ints b, Ints mask) { return _mm512_ternarylogic_epi32(a, b, mask, 0xf8); }
  static Ints splat_byte(int8_t value) { return _mm512_set1_epi8(value); }
  static Ints and_bits(Ints a, Ints b) { return _mm512_and_si512(a, b); }
  static Ints low_nibbles(Ints a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
  static Ints high_nibbles(Ints a) { return low_nibbles(_mm512_srli_epi16(a, 4)); }

  static float total16(const Floats* lanes) {
    return sum_of(_mm256_add_ps(_mm512_castps512_ps256(*lanes), _mm512_extractf32x8_ps(*lanes, 1)));
  }

  struct Wide {
    __m512d low, high;
  };
  static Wide wide_zero() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
  static Wide load_wide(const double* from) { return {_mm512_loadu_pd(from), _mm512_loadu_pd(from + 8)}; }
  static void store(double* to, const Wide& a) {
    _mm512_storeu_pd(to, a.low);
    _mm512_storeu_pd(to + 8, a.high);
  }
  static Wide add(const Wide& sums, Floats a) {
    return {_mm512_add_pd(sums.low, _mm512_cvtps_pd(_mm512_castps512_ps256(a))),
            _mm512_add_pd(sums.high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)))};
  }
  static double total(const Wide& a) {
    const __m512d all = _mm512_add_pd(a.low, a.high);
    return sum_of(_mm256_add_pd(_mm512_castpd512_pd256(all), _mm512_extractf64x4_pd(all, 1)));
  }
  static Wide wide(Ints a) {
    return {_mm512_cvtepi32_pd(_mm512_castsi512_si256(a)), _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(a, 1))};
  }
  static Wide multiply_add(const Wide& a, double b, const Wide& c) {
    const __m512d factor = _mm512_set1_pd(b);
    return {_mm512_fmadd_pd(a.low, factor, c.low), _mm512_fmadd_pd(a.high, factor, c.high)};
  }
  static Wide subtract(const Wide& a, double b) {
    return {_mm512_sub_pd(a.low, _mm512_set1_pd(b)), _mm512_sub_pd(a.high, _mm512_set1_pd(b))};
  }
  static Wide add(const Wide& a, const Wide& b) {
    return {_mm512_add_pd(a.low, b.low), _mm512_add_pd(a.high, b.high)};
  }
};

}  // namespace
}  // namespace thermocline
