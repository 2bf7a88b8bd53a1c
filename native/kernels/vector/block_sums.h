// Blocks as floats.
#pragma once

#include "floats.h"
#include "k_quant_rows.h"

namespace thermocline {
namespace {

// 32 quants as bytes, with the scale of each sixteen and what is taken off the products.
struct Unpacked {
  __m256i quants;
  float scale[2];
  float minimum;
};

float half_at(const uint8_t* from) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load<uint16_t>(from)))); }

struct BlockQ8_0 {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kQ8_0BlockBytes;
  static constexpr bool kHasMinimum = false;
  static Unpacked unpack(const uint8_t* block, size_t) {
    const float d = half_at(block);
    return {load256(block + kWeightQuants), {d, d}, 0};
  }
};

struct BlockQ4_0 {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kQ4_0BlockBytes;
  static constexpr bool kHasMinimum = false;
  static Unpacked unpack(const uint8_t* block, size_t) {
    const float d = half_at(block);
    return {_mm256_sub_epi8(nibbles_of(block + kWeightQuants), _mm256_set1_epi8(8)), {d, d}, 0};
  }
};

template <class Quants>
struct BlockWithMinimums {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = Quants::kBytes;
  static constexpr bool kHasMinimum = true;
  static Unpacked unpack(const uint8_t* block, size_t sub) {
    const uint8_t* packed = block + kKScales;
    int scale, minimum;
    if (sub < 4) {
      scale = packed[sub] & 63;
      minimum = packed[sub + 4] & 63;
    } else {
      scale = (packed[sub + 4] & 15) | (packed[sub - 4] >> 6 << 4);
      minimum = (packed[sub + 4] >> 4) | (packed[sub] >> 6 << 4);
    }
    const float d = half_at(block) * static_cast<float>(scale);
    return {Quants::load(block, sub), {d, d}, half_at(block + kKScaleOfMinimums) * static_cast<float>(minimum)};
  }
};
using BlockQ4_K = BlockWithMinimums<QuantsQ4_K>;
using BlockQ5_K = BlockWithMinimums<QuantsQ5_K>;

struct BlockQ6_K {
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = kQ6_KBlockBytes;
  static constexpr bool kHasMinimum = false;
  static Unpacked unpack(const uint8_t* block, size_t sub) {
    const float d = half_at(block + kQ6_KScale);
    const uint8_t* scales = block + kQ6_KScales + 2 * sub;
    return {_mm256_sub_epi8(load_q6_k(block, sub), _mm256_set1_epi8(kQ6_KZero)),
            {d * static_cast<float>(static_cast<int8_t>(scales[0])),
             d * static_cast<float>(static_cast<int8_t>(scales[1]))},
            0};
  }
};

// Vector `v` of a block's quants.
template <class Lanes>
typename Lanes::Floats quants_at(const Unpacked& block, size_t v) {
  const __m128i half = v * Lanes::kWidth < kBlock / 2 ? _mm256_castsi256_si128(block.quants)
                                                      : _mm256_extracti128_si256(block.quants, 1);
  if constexpr (Lanes::kWidth == kBlock / 2) {
    return Lanes::load_int8s(half);
  } else {
    return Lanes::load_int8s(v % 2 == 0 ? half : _mm_srli_si128(half, 8));
  }
}

template <class Lanes, class Block>
void dequantize_blocks(const std::byte* row, float* y, size_t cols) {
  for (size_t c = 0; c < cols; c += kBlock) {
    const uint8_t* from = bytes_of(row) + c / Block::kElements * Block::kBytes;
    const Unpacked block = Block::unpack(from, c % Block::kElements / kBlock);
    for (size_t v = 0; v < kBlock / Lanes::kWidth; ++v) {
      const auto scale = Lanes::splat(block.scale[v * Lanes::kWidth / (kBlock / 2)]);
      auto values = Lanes::multiply(scale, quants_at<Lanes>(block, v));
      if (Block::kHasMinimum) values = Lanes::subtract(values, Lanes::splat(block.minimum));
      Lanes::store(y + c + v * Lanes::kWidth, values);
    }
  }
}

}  // namespace
}  // namespace thermocline
