// AVX2 with FMA and F16C. Only this file is compiled for them, so it holds nothing but intrinsics and functions of its
// own: an inline function shared with other files could be kept in the version made here, which older CPUs cannot run.
#include <immintrin.h>

#include "blocks.h"
#include "instruction_sets.h"

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile this file with -mavx2 -mfma -mf16c"
#endif

namespace thermocline {
namespace {

constexpr size_t kLanes = 8;
// Sums in flight: an FMA takes 4 cycles, and two loads a cycle feed one FMA a cycle.
constexpr size_t kSums = 4;

// Pointers may be misaligned.
template <typename T>
T load(const uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

const uint8_t* bytes_of(const void* data) { return static_cast<const uint8_t*>(data); }

// The first `count` lanes.
__m256i first_lanes(size_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

struct F32 {
  static constexpr size_t kBytes = sizeof(float);
  static __m256 load(const uint8_t* from) { return _mm256_loadu_ps(reinterpret_cast<const float*>(from)); }
  static __m256 load_first(const uint8_t* from, size_t count) {
    return _mm256_maskload_ps(reinterpret_cast<const float*>(from), first_lanes(count));
  }
};

struct F16 {
  static constexpr size_t kBytes = sizeof(uint16_t);
  static __m256 load(const uint8_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static __m256 load_first(const uint8_t* from, size_t count) {
    uint8_t padded[kLanes * kBytes] = {};
    __builtin_memcpy(padded, from, count * kBytes);
    return load(padded);
  }
};

// Eight sums of products in f32, which FMA adds without rounding them first. total() adds in one fixed order.
struct F32Sums {
  using Number = float;
  __m256 lanes = _mm256_setzero_ps();

  static F32Sums load(const float* y) { return {_mm256_loadu_ps(y)}; }
  void store(float* y) const { _mm256_storeu_ps(y, lanes); }
  void add_product(__m256 a, __m256 b) { lanes = _mm256_fmadd_ps(a, b, lanes); }

  static float total(const F32Sums* sums) {
    const __m256 all = _mm256_add_ps(_mm256_add_ps(sums[0].lanes, sums[1].lanes),
                                     _mm256_add_ps(sums[2].lanes, sums[3].lanes));
    __m128 part = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
    part = _mm_add_ps(part, _mm_movehl_ps(part, part));
    return _mm_cvtss_f32(_mm_add_ss(part, _mm_movehdup_ps(part)));
  }
};

// Eight sums in f64 of products rounded to f32.
struct F64Sums {
  using Number = double;
  __m256d low = _mm256_setzero_pd(), high = _mm256_setzero_pd();

  static F64Sums load(const double* y) { return {_mm256_loadu_pd(y), _mm256_loadu_pd(y + kLanes / 2)}; }
  void store(double* y) const {
    _mm256_storeu_pd(y, low);
    _mm256_storeu_pd(y + kLanes / 2, high);
  }
  void add_product(__m256 a, __m256 b) {
    const __m256 products = _mm256_mul_ps(a, b);
    low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(products)));
    high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(products, 1)));
  }

  static double total(const F64Sums* sums) {
    const __m256d low = _mm256_add_pd(_mm256_add_pd(sums[0].low, sums[1].low), _mm256_add_pd(sums[2].low, sums[3].low));
    const __m256d high =
        _mm256_add_pd(_mm256_add_pd(sums[0].high, sums[1].high), _mm256_add_pd(sums[2].high, sums[3].high));
    const __m256d all = _mm256_add_pd(low, high);
    const __m128d part = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
    return _mm_cvtsd_f64(_mm_add_sd(part, _mm_unpackhi_pd(part, part)));
  }
};

template <typename Element, typename Sums>
typename Sums::Number dot(const void* weights, const void* x, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  const uint8_t* v = bytes_of(x);
  Sums sums[kSums];
  size_t i = 0;
  for (; i + kSums * kLanes <= cols; i += kSums * kLanes) {
    for (size_t k = 0; k < kSums; ++k) {
      const size_t at = i + k * kLanes;
      sums[k].add_product(Element::load(w + at * Element::kBytes), F32::load(v + at * F32::kBytes));
    }
  }
  for (; i + kLanes <= cols; i += kLanes) {
    sums[0].add_product(Element::load(w + i * Element::kBytes), F32::load(v + i * F32::kBytes));
  }
  if (i < cols) {
    const __m256 w_rest = Element::load_first(w + i * Element::kBytes, cols - i);
    sums[1].add_product(w_rest, F32::load_first(v + i * F32::kBytes, cols - i));
  }
  return Sums::total(sums);
}

// y[0..8) += scale * weights
template <typename Sums>
void add_scaled_lanes(__m256 scale, __m256 weights, typename Sums::Number* y) {
  Sums sums = Sums::load(y);
  sums.add_product(scale, weights);
  sums.store(y);
}

template <typename Element, typename Sums>
void add_scaled(float scale, const void* weights, typename Sums::Number* y, size_t cols) {
  using Number = typename Sums::Number;
  const uint8_t* w = bytes_of(weights);
  const __m256 scales = _mm256_set1_ps(scale);
  size_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) add_scaled_lanes<Sums>(scales, Element::load(w + i * Element::kBytes), y + i);
  if (i < cols) {
    Number rest[kLanes] = {};
    __builtin_memcpy(rest, y + i, (cols - i) * sizeof(Number));
    add_scaled_lanes<Sums>(scales, Element::load_first(w + i * Element::kBytes, cols - i), rest);
    __builtin_memcpy(y + i, rest, (cols - i) * sizeof(Number));
  }
}

// A weight block's scale in every lane.
__m256 block_scale(const uint8_t* block) { return _mm256_cvtph_ps(_mm_set1_epi16(load<int16_t>(block))); }

// 16-bit sums of two products to 32-bit sums of four.
__m256i widen(__m256i pair_sums) { return _mm256_madd_epi16(pair_sums, _mm256_set1_epi16(1)); }

struct Q8_0 {
  static constexpr size_t kBytes = kQ8_0BlockBytes;

  // Each lane: the sum of four of the block's products. vpmaddubsw multiplies unsigned by signed, hence |w| by x with
  // w's sign. |w| <= 128 and |x| <= 127: two products fit 16 bits.
  static __m256i products(const uint8_t* block, __m256i x) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block + kWeightQuants));
    return widen(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)));
  }

  template <typename Sums>
  static void add_scaled(__m256 scale, const uint8_t* block, typename Sums::Number* y) {
    for (size_t j = 0; j < kBlock; j += kLanes) {
      const __m128i quants = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(block + kWeightQuants + j));
      add_scaled_lanes<Sums>(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quants)), y + j);
    }
  }
};

struct Q4_0 {
  static constexpr size_t kBytes = kQ4_0BlockBytes;

  // As Q8_0's, with (q - 8) x computed as q x - 8 x: each pair of products fits 16 bits.
  static __m256i products(const uint8_t* block, __m256i x) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + kWeightQuants));
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
    const __m256i quants = _mm256_and_si256(both, _mm256_set1_epi8(0x0f));
    return widen(_mm256_sub_epi16(_mm256_maddubs_epi16(quants, x), _mm256_maddubs_epi16(_mm256_set1_epi8(8), x)));
  }

  template <typename Sums>
  static void add_scaled(__m256 scale, const uint8_t* block, typename Sums::Number* y) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + kWeightQuants));
    // A nibble with its top bit flipped is q - 8 in two's complement.
    const __m128i nibbles = _mm_xor_si128(packed, _mm_set1_epi8(static_cast<char>(0x88)));
    const __m256i first = _mm256_cvtepi8_epi32(nibbles);
    const __m256i second = _mm256_cvtepi8_epi32(_mm_srli_si128(nibbles, kLanes));
    add_scaled_lanes<Sums>(scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(first, 28), 28)), y);
    add_scaled_lanes<Sums>(scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(second, 28), 28)), y + kLanes);
    add_scaled_lanes<Sums>(scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(first, 4)), y + 2 * kLanes);
    add_scaled_lanes<Sums>(scale, _mm256_cvtepi32_ps(_mm256_srai_epi32(second, 4)), y + 3 * kLanes);
  }
};

template <typename Block, typename Sums>
void add_block_dot(const uint8_t* w, const uint8_t* x, Sums& sums) {
  const __m256 scale = _mm256_mul_ps(block_scale(w), _mm256_set1_ps(load<float>(x)));
  const __m256i quants = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + kActivationQuants));
  sums.add_product(scale, _mm256_cvtepi32_ps(Block::products(w, quants)));
}

template <typename Block, typename Sums>
typename Sums::Number dot_blocks(const void* weights, const void* x, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  const uint8_t* v = bytes_of(x);
  const size_t blocks = cols / kBlock;
  Sums sums[kSums];
  size_t i = 0;
  for (; i + kSums <= blocks; i += kSums) {
    for (size_t k = 0; k < kSums; ++k) {
      add_block_dot<Block>(w + (i + k) * Block::kBytes, v + (i + k) * kActivationBytes, sums[k]);
    }
  }
  for (; i < blocks; ++i) add_block_dot<Block>(w + i * Block::kBytes, v + i * kActivationBytes, sums[0]);
  return Sums::total(sums);
}

template <typename Block, typename Sums>
void add_scaled_blocks(float scale, const void* weights, typename Sums::Number* y, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  const __m256 scales = _mm256_set1_ps(scale);
  for (size_t i = 0; i < cols; i += kBlock, w += Block::kBytes) {
    Block::template add_scaled<Sums>(_mm256_mul_ps(scales, block_scale(w)), w, y + i);
  }
}

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

void quantize_block(const float* x, uint8_t* y) {
  const __m256 x0 = _mm256_loadu_ps(x);
  const __m256 x1 = _mm256_loadu_ps(x + kLanes);
  const __m256 x2 = _mm256_loadu_ps(x + 2 * kLanes);
  const __m256 x3 = _mm256_loadu_ps(x + 3 * kLanes);
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
  __builtin_memcpy(y, &scale, sizeof scale);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + kActivationQuants), quants);
}

void quantize(const float* x, Q8Activation* y, size_t cols) {
  uint8_t* to = reinterpret_cast<uint8_t*>(y);
  for (size_t i = 0; i < cols; i += kBlock, to += kActivationBytes) quantize_block(x + i, to);
}

void to_f16(const float* x, uint16_t* y, size_t cols) {
  constexpr int kNearestEven = _MM_FROUND_TO_NEAREST_INT;
  size_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), kNearestEven));
  }
  if (i < cols) {
    const __m128i rest = _mm256_cvtps_ph(F32::load_first(bytes_of(x + i), cols - i), kNearestEven);
    __builtin_memcpy(y + i, &rest, (cols - i) * sizeof(uint16_t));
  }
}

}  // namespace

const Kernels kAvx2Kernels = {
    .instruction_set = InstructionSet::avx2,
    .dot = {dot<F32, F32Sums>, dot<F16, F32Sums>, dot_blocks<Q8_0, F32Sums>, dot_blocks<Q4_0, F32Sums>},
    .add_scaled = {add_scaled<F32, F32Sums>, add_scaled<F16, F32Sums>,
                   add_scaled_blocks<Q8_0, F32Sums>, add_scaled_blocks<Q4_0, F32Sums>},
    .wide_dot = {dot<F32, F64Sums>, dot<F16, F64Sums>, dot_blocks<Q8_0, F64Sums>, dot_blocks<Q4_0, F64Sums>},
    .accumulate = {add_scaled<F32, F64Sums>, add_scaled<F16, F64Sums>,
                   add_scaled_blocks<Q8_0, F64Sums>, add_scaled_blocks<Q4_0, F64Sums>},
    .quantize = quantize,
    .to_f16 = to_f16,
};

}  // namespace thermocline
