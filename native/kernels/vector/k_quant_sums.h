// Scaled sums of rows of K-quants in f64. What multiplies a row's quants is computed for a whole block at once.
#pragma once

#include "block_sums.h"

namespace thermocline {
namespace {

// f32(scale * f32(block's scale * sub-block's)) for each sixteen elements or each 32, and likewise the minimums.
struct Factors {
  float scales[kSuperBlock / 16];
  float minimums[kSubBlocks];
};

__m256 bytes_to_floats(uint64_t bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(bytes))));
}

template <class Quants>
struct SumsWithMinimums {
  static constexpr size_t kBytes = Quants::kBytes;
  static constexpr bool kHasMinimum = true;
  static constexpr size_t kScaled = kBlock;

  static __m256i load(const uint8_t* block, size_t sub) { return Quants::load(block, sub); }

  static void factors(float scale, const uint8_t* block, Factors& to) {
    constexpr uint32_t kSix = 0x3f3f3f3f, kFour = 0x0f0f0f0f, kTwo = 0x30303030;
    const uint8_t* packed = block + kKScales;
    const auto a = load_word(packed), b = load_word(packed + 4), c = load_word(packed + 8);
    const uint64_t scales = (a & kSix) | uint64_t{(c & kFour) | (a >> 2 & kTwo)} << 32;
    const uint64_t minimums = (b & kSix) | uint64_t{(c >> 4 & kFour) | (b >> 2 & kTwo)} << 32;
    const __m256 by = _mm256_set1_ps(scale);
    const __m256 d = _mm256_set1_ps(half_at(block)), minimum_d = _mm256_set1_ps(half_at(block + kKScaleOfMinimums));
    _mm256_storeu_ps(to.scales, _mm256_mul_ps(by, _mm256_mul_ps(d, bytes_to_floats(scales))));
    _mm256_storeu_ps(to.minimums, _mm256_mul_ps(by, _mm256_mul_ps(minimum_d, bytes_to_floats(minimums))));
  }

 private:
  static uint32_t load_word(const uint8_t* from) { return thermocline::load<uint32_t>(from); }
};

struct SumsQ6_K {
  static constexpr size_t kBytes = kQ6_KBlockBytes;
  static constexpr bool kHasMinimum = false;
  static constexpr size_t kScaled = kBlock / 2;

  static __m256i load(const uint8_t* block, size_t sub) {
    return _mm256_sub_epi8(load_q6_k(block, sub), _mm256_set1_epi8(kQ6_KZero));
  }

  static void factors(float scale, const uint8_t* block, Factors& to) {
    const __m128i bytes = load128(block + kQ6_KScales);
    const __m256 by = _mm256_set1_ps(scale), d = _mm256_set1_ps(half_at(block + kQ6_KScale));
    const auto factors = [&](__m128i eight) {
      return _mm256_mul_ps(by, _mm256_mul_ps(d, Lanes256::load_int8s(eight)));
    };
    _mm256_storeu_ps(to.scales, factors(bytes));
    _mm256_storeu_ps(to.scales + 8, factors(_mm_srli_si128(bytes, 8)));
  }
};

template <class Lanes, class Sums>
void accumulate_super_blocks_of_some(const float* scales, const std::byte* const* rows, size_t count, double* y,
                                     size_t cols, Factors* factors) {
  constexpr size_t kVectors = kBlock / Lanes::kWidth;
  AskAhead ahead(rows, count);
  for (size_t c = 0, offset = 0; c < cols; c += kSuperBlock, offset += Sums::kBytes) {
    for (size_t i = 0; i < count; ++i) Sums::factors(scales[i], bytes_of(rows[i]) + offset, factors[i]);
#pragma GCC unroll 8
    for (size_t sub = 0; sub < kSubBlocks; ++sub) {
      ahead.to(offset + sub * (Sums::kBytes / kSubBlocks));
      double* to = y + c + sub * kBlock;
      typename Lanes::Wide sums[kVectors];
      for (size_t v = 0; v < kVectors; ++v) sums[v] = Lanes::load_wide(to + v * Lanes::kWidth);
      for (size_t i = 0; i < count; ++i) {
        const __m256i quants = Sums::load(bytes_of(rows[i]) + offset, sub);
        for (size_t v = 0; v < kVectors; ++v) {
          const float scale = factors[i].scales[(sub * kBlock + v * Lanes::kWidth) / Sums::kScaled];
          auto products = Lanes::multiply(Lanes::splat(scale), vector_of<Lanes>(quants, v));
          if (Sums::kHasMinimum) products = Lanes::subtract(products, Lanes::splat(factors[i].minimums[sub]));
          sums[v] = Lanes::add(sums[v], products);
        }
      }
      for (size_t v = 0; v < kVectors; ++v) Lanes::store(to + v * Lanes::kWidth, sums[v]);
    }
  }
}

template <class Lanes, class Sums>
void accumulate_super_blocks(const float* scales, const std::byte* const* rows, size_t count, double* y, size_t cols) {
  constexpr size_t kRowsAtATime = 16;
  Factors factors[kRowsAtATime];
  for (size_t i = 0; i < count; i += kRowsAtATime) {
    const size_t some = count - i < kRowsAtATime ? count - i : kRowsAtATime;
    accumulate_super_blocks_of_some<Lanes, Sums>(scales + i, rows + i, some, y, cols, factors);
  }
}

}  // namespace
}  // namespace thermocline
