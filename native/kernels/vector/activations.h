// Activations into the forms that kernels take.
#pragma once

#include "floats.h"

namespace thermocline {
namespace {

// The largest of eight |x|, each as its bits: they are ordered as the numbers are, with infinity and then the NaNs
// above all others.
float largest_of(__m256i magnitude_bits) {
  __m128i most = _mm_max_epu32(_mm256_castsi256_si128(magnitude_bits), _mm256_extracti128_si256(magnitude_bits, 1));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(1, 0, 3, 2)));
  most = _mm_max_epu32(most, _mm_shuffle_epi32(most, _MM_SHUFFLE(2, 3, 0, 1)));
  return _mm_cvtss_f32(_mm_castsi128_ps(most));
}

__m256i magnitude_bits(__m256 x) {
  return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
}

// Sums of the first sixteen and the last, as 16 bits each.
int32_t sums_of_halves(__m256i bytes) {
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  __m256i sums = _mm256_hadd_epi16(pairs, pairs);
  sums = _mm256_hadd_epi16(sums, sums);
  sums = _mm256_hadd_epi16(sums, sums);
  return _mm_cvtsi128_si32(
      _mm_unpacklo_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1)));
}

void quantize_block(const uint8_t* x, uint8_t* y) {
  constexpr size_t kBytes = 8 * sizeof(float);
  const __m256 x0 = Lanes256::load_floats(x);
  const __m256 x1 = Lanes256::load_floats(x + kBytes);
  const __m256 x2 = Lanes256::load_floats(x + 2 * kBytes);
  const __m256 x3 = Lanes256::load_floats(x + 3 * kBytes);
  const float largest = largest_of(_mm256_max_epu32(_mm256_max_epu32(magnitude_bits(x0), magnitude_bits(x1)),
                                                    _mm256_max_epu32(magnitude_bits(x2), magnitude_bits(x3))));
  float scale;
  __m256i quants;
  if (largest >= kLeastQuantized && largest <= __FLT_MAX__) {
    scale = largest / 127.0f;
    const __m256 inverse = _mm256_set1_ps(127.0f / largest);
    const __m256i low = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(x0, inverse)),
                                           _mm256_cvtps_epi32(_mm256_mul_ps(x1, inverse)));
    const __m256i high = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(x2, inverse)),
                                            _mm256_cvtps_epi32(_mm256_mul_ps(x3, inverse)));
    // Packing works within 128-bit halves; this restores the order of the groups of four.
    quants = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  } else {
    scale = largest < kLeastQuantized ? 0.0f : __builtin_nanf("");
    quants = _mm256_setzero_si256();
  }
  const int32_t sums = sums_of_halves(quants);
  __builtin_memcpy(y, &scale, sizeof scale);
  __builtin_memcpy(y + kActivationSums, &sums, sizeof sums);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + kActivationQuants), quants);
}

void quantize(const float* x, Q8Activation* y, size_t cols) {
  const uint8_t* from = bytes_of(x);
  uint8_t* to = reinterpret_cast<uint8_t*>(y);
  for (size_t i = 0; i < cols; i += kBlock, from += kBlock * sizeof(float), to += kActivationBytes) {
    quantize_block(from, to);
  }
}

void to_f16(const float* x, uint16_t* y, size_t cols) {
  constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT;
  constexpr size_t kWidth = Lanes256::kWidth;
  size_t i = 0;
  for (; i + kWidth <= cols; i += kWidth) {
    const __m128i halves = _mm256_cvtps_ph(Lanes256::load_floats(bytes_of(x + i)), kNearestEven);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), halves);
  }
  if (i == cols) return;
  const __m128i rest = _mm256_cvtps_ph(load_first<Lanes256, F32>(bytes_of(x + i), cols - i), kNearestEven);
  __builtin_memcpy(y + i, &rest, (cols - i) * sizeof(uint16_t));
}

}  // namespace
}  // namespace thermocline
