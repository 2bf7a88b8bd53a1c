// Blocks of one row, unpacked: quants as bytes, scales as floats.
#pragma once

#include "floats.h"
#include "k_quant_rows.h"

namespace thermocline {
namespace {

float half_at(const uint8_t* from) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load<uint16_t>(from)))); }

// A format gives the quants of its sub-blocks of 32, and the scales of eight groups of kScaleElements from column `c` on,
// with what is taken off the products where it has minimums; `at` is the block of column c. Of formats with one scale a
// block, `present` are there, and the others' come out 0.
template <size_t BlockBytes>
struct ScaleABlock {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = BlockBytes;
  static constexpr size_t kScaleElements = kBlock;
  static constexpr bool kHasMinimum = false;
  static __m256 eight_scales(const uint8_t* at, size_t, size_t present) {
    if (present >= 8) return eight_halves([&](size_t i) { return load<int16_t>(at + i * BlockBytes); });
    return eight_halves([&](size_t i) { return i < present ? load<int16_t>(at + i * BlockBytes) : int16_t{0}; });
  }
};

struct BlockQ8_0 : ScaleABlock<kQ8_0BlockBytes> {
  static __m256i quants(const uint8_t* block, size_t) { return load256(block + kWeightQuants); }
};

struct BlockQ4_0 : ScaleABlock<kQ4_0BlockBytes> {
  static __m256i quants(const uint8_t* block, size_t) {
    return _mm256_sub_epi8(nibbles_of(block + kWeightQuants), _mm256_set1_epi8(8));
  }
};

__m256 eight_bytes(uint32_t first, uint32_t last) {
  const __m128i bytes = _mm_set_epi32(0, 0, static_cast<int>(last), static_cast<int>(first));
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

// Scales and minimums are packed as sub_block.h says.
template <class Quants>
struct BlockWithMinimums {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = Quants::kBytes;
  static constexpr size_t kScaleElements = kBlock;
  static constexpr bool kHasMinimum = true;
  static __m256i quants(const uint8_t* block, size_t sub) { return Quants::load(block, sub); }
  static __m256 eight_scales(const uint8_t* block, size_t, size_t) {
    const uint32_t a = load<uint32_t>(block + kKScales), c = load<uint32_t>(block + kKScales + 8);
    const __m256 scales = eight_bytes(a & 0x3f3f3f3f, (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030));
    return _mm256_mul_ps(_mm256_set1_ps(half_at(block)), scales);
  }
  static __m256 eight_minimums(const uint8_t* block) {
    const uint32_t b = load<uint32_t>(block + kKScales + 4), c = load<uint32_t>(block + kKScales + 8);
    const __m256 minimums = eight_bytes(b & 0x3f3f3f3f, (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030));
    return _mm256_mul_ps(_mm256_set1_ps(half_at(block + kKScaleOfMinimums)), minimums);
  }
};
using BlockQ4_K = BlockWithMinimums<QuantsQ4_K>;
using BlockQ5_K = BlockWithMinimums<QuantsQ5_K>;

struct BlockQ6_K {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = kQ6_KBlockBytes;
  static constexpr size_t kScaleElements = kBlock / 2;
  static constexpr bool kHasMinimum = false;
  static __m256i quants(const uint8_t* block, size_t sub) {
    return _mm256_sub_epi8(load_q6_k(block, sub), _mm256_set1_epi8(kQ6_KZero));
  }
  static __m256 eight_scales(const uint8_t* block, size_t c, size_t) {
    const uint8_t* scales = block + kQ6_KScales + c % kSuperBlock / kScaleElements;
    const __m256i integers = _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales)));
    return _mm256_mul_ps(_mm256_set1_ps(half_at(block + kQ6_KScale)), _mm256_cvtepi32_ps(integers));
  }
};

// Vector `v` of 32 quants.
template <class Lanes>
typename Lanes::Floats vector_of(__m256i quants, size_t v) {
  const __m128i half = v * Lanes::kWidth < kBlock / 2 ? _mm256_castsi256_si128(quants)
                                                      : _mm256_extracti128_si256(quants, 1);
  if constexpr (Lanes::kWidth == kBlock / 2) {
    return Lanes::load_int8s(half);
  } else {
    return Lanes::load_int8s(v % 2 == 0 ? half : _mm_srli_si128(half, 8));
  }
}

template <class Lanes, class Block>
void dequantize_blocks(const std::byte* row, float* y, size_t cols) {
  constexpr size_t kTile = 8 * Block::kScaleElements;
  float scales[8], minimums[8] = {};
  for (size_t c = 0; c < cols; c += kBlock) {
    const uint8_t* block = bytes_of(row) + c / Block::kElements * Block::kBytes;
    if (c % kTile == 0) {
      _mm256_storeu_ps(scales, Block::eight_scales(block, c, (cols - c) / Block::kScaleElements));
      if constexpr (Block::kHasMinimum) _mm256_storeu_ps(minimums, Block::eight_minimums(block));
    }
    const __m256i quants = Block::quants(block, c % Block::kElements / kBlock);
    for (size_t v = 0; v < kBlock / Lanes::kWidth; ++v) {
      const size_t group = (c + v * Lanes::kWidth) % kTile / Block::kScaleElements;
      auto values = Lanes::multiply(Lanes::splat(scales[group]), vector_of<Lanes>(quants, v));
      if (Block::kHasMinimum) values = Lanes::subtract(values, Lanes::splat(minimums[group]));
      Lanes::store(y + c + v * Lanes::kWidth, values);
    }
  }
}

}  // namespace
}  // namespace thermocline
