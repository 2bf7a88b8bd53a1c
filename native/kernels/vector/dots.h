// Sums of products of bytes: each 32-bit lane adds up groups of four. Unsigned by signed is what the instructions
// multiply.
#pragma once

#include "lanes256.h"

namespace thermocline {
namespace {

// Sums of two products of unsigned bytes of at most `most` with quants that 16 bits have room for.
constexpr size_t room_in_halves(int most) { return static_cast<size_t>(32767 / (2 * most * 127)); }

struct DotAvx2 {
  using Ints = __m256i;
  static Ints widen(Ints pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

  // Nibbles by quants of at most 127 in magnitude: a 16-bit lane has room for 8 sums of two products (8 * 2 * 15 * 127
  // = 30480), so that a block of 32 columns is widened to 32 bits once.
  static Ints nibbles_zero() { return _mm256_setzero_si256(); }
  static Ints add_nibbles(Ints sums, Ints nibbles, Ints x) {
    return _mm256_add_epi16(sums, _mm256_maddubs_epi16(nibbles, x));
  }
  static Ints nibbles_done(Ints sums) { return widen(sums); }

  // Unsigned bytes of at most `most` by quants: how many sums of two products a lane's halves have room for, and those
  // sums times their scale, which lies in both halves.
  static constexpr bool kScaleInHalves = true;
  static constexpr size_t room_for(int most) { return room_in_halves(most); }
  static Ints times(Ints sums, Ints scales) { return _mm256_madd_epi16(sums, scales); }

  // Any bytes of at most 64 in magnitude as unsigned by x: two products fit 16 bits.
  static Ints small_by_signed(Ints small, Ints x) { return widen(_mm256_maddubs_epi16(small, x)); }

  // Signed by signed: |w| by x with w's sign. |w| <= 128 and |x| <= 127, so two products fit 16 bits.
  static constexpr int16_t kByteZero = 0;
  static Ints add_bytes(Ints sums, Ints w, Ints x) {
    return _mm256_add_epi32(sums, widen(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))));
  }

  // 16-bit numbers, each lane two of them.
  static Ints add_words(Ints sums, Ints a, Ints b) { return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b)); }
};

#if defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))
struct DotVnni256 {
  using Ints = __m256i;
  static Ints dot(Ints sums, Ints w, Ints x) {
#if defined(__AVX512VNNI__)
    return _mm256_dpbusd_epi32(sums, w, x);
#else
    return _mm256_dpbusd_avx_epi32(sums, w, x);
#endif
  }
  static Ints nibbles_zero() { return _mm256_setzero_si256(); }
  static Ints add_nibbles(Ints sums, Ints nibbles, Ints x) { return dot(sums, nibbles, x); }
  static Ints nibbles_done(Ints sums) { return sums; }
  static constexpr bool kScaleInHalves = false;
  static constexpr size_t room_for(int) { return kBlock; }
  static Ints times(Ints sums, Ints scales) { return _mm256_mullo_epi32(sums, scales); }
  static Ints small_by_signed(Ints small, Ints x) { return dot(_mm256_setzero_si256(), small, x); }
  // w + 128 is unsigned; 128 times the sum of x must be taken off.
  static constexpr int16_t kByteZero = 128;
  static Ints add_bytes(Ints sums, Ints w, Ints x) {
    return dot(sums, _mm256_xor_si256(w, _mm256_set1_epi8(-128)), x);
  }
  static Ints add_words(Ints sums, Ints a, Ints b) {
#if defined(__AVX512VNNI__)
    return _mm256_dpwssd_epi32(sums, a, b);
#else
    return _mm256_dpwssd_avx_epi32(sums, a, b);
#endif
  }
};
#endif

#if defined(__AVX512BW__)
struct Dot512 {
  using Ints = __m512i;
  static Ints widen(Ints pairs) { return _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)); }
  static Ints nibbles_zero() { return _mm512_setzero_si512(); }
  static Ints add_nibbles(Ints sums, Ints nibbles, Ints x) {
    return _mm512_add_epi16(sums, _mm512_maddubs_epi16(nibbles, x));
  }
  static Ints nibbles_done(Ints sums) { return widen(sums); }
  static constexpr bool kScaleInHalves = true;
  static constexpr size_t room_for(int most) { return room_in_halves(most); }
  static Ints times(Ints sums, Ints scales) { return _mm512_madd_epi16(sums, scales); }
  static constexpr int16_t kByteZero = 0;
  static Ints add_bytes(Ints sums, Ints w, Ints x) {
    const Ints signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
    return _mm512_add_epi32(sums, widen(_mm512_maddubs_epi16(_mm512_abs_epi8(w), signed_x)));
  }
  static Ints add_words(Ints sums, Ints a, Ints b) { return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b)); }
};
#endif

#if defined(__AVX512VNNI__)
struct DotVnni512 {
  using Ints = __m512i;
  static Ints nibbles_zero() { return _mm512_setzero_si512(); }
  static Ints add_nibbles(Ints sums, Ints nibbles, Ints x) { return _mm512_dpbusd_epi32(sums, nibbles, x); }
  static Ints nibbles_done(Ints sums) { return sums; }
  static constexpr bool kScaleInHalves = false;
  static constexpr size_t room_for(int) { return kBlock; }
  static Ints times(Ints sums, Ints scales) { return _mm512_mullo_epi32(sums, scales); }
  static constexpr int16_t kByteZero = 128;
  static Ints add_bytes(Ints sums, Ints w, Ints x) {
    return _mm512_dpbusd_epi32(sums, _mm512_xor_si512(w, _mm512_set1_epi8(-128)), x);
  }
  static Ints add_words(Ints sums, Ints a, Ints b) { return _mm512_dpwssd_epi32(sums, a, b); }
};
#endif

}  // namespace
}  // namespace thermocline
