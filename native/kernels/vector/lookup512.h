// Sums of Q4_0 rows for AVX-512: a block's sixteen possible products are computed once and looked up. One instruction
// picks eight of sixteen doubles by the low four bits of an index, so nibbles need no unpacking but a shift.
#pragma once

#include "block_sums.h"
#include "lanes512.h"

namespace thermocline {
namespace {

__m512i eight_indices(const uint8_t* from) {
  return _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}

void accumulate_q4_0_by_lookup(const float* scales, const std::byte* const* rows, size_t count, double* y,
                               size_t cols) {
  constexpr size_t kLanes = 8;
  constexpr size_t kVectors = kBlock / kLanes;
  const __m512 quants = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
  AskAhead ahead(rows, count);
  for (size_t c = 0, offset = 0; c < cols; c += kBlock, offset += kQ4_0BlockBytes) {
    ahead.to(offset);
    __m512d sums[kVectors];
    for (size_t v = 0; v < kVectors; ++v) sums[v] = _mm512_loadu_pd(y + c + v * kLanes);
    for (size_t i = 0; i < count; ++i) {
      const uint8_t* block = bytes_of(rows[i]) + offset;
      const __m512 products = _mm512_mul_ps(_mm512_set1_ps(scales[i] * half_at(block)), quants);
      const __m512d below_zero = _mm512_cvtps_pd(_mm512_castps512_ps256(products));
      const __m512d from_zero = _mm512_cvtps_pd(_mm512_extractf32x8_ps(products, 1));
      for (size_t v = 0; v < kVectors; ++v) {
        const __m512i bytes = eight_indices(block + kWeightQuants + v % 2 * kLanes);
        const __m512i nibbles = v < 2 ? bytes : _mm512_srli_epi64(bytes, 4);
        sums[v] = _mm512_add_pd(sums[v], _mm512_permutex2var_pd(below_zero, nibbles, from_zero));
      }
    }
    for (size_t v = 0; v < kVectors; ++v) _mm512_storeu_pd(y + c + v * kLanes, sums[v]);
  }
}

// A table of 512-bit kernels with what is faster so.
constexpr Kernels with_lookups(Kernels kernels) {
  kernels.accumulate[static_cast<size_t>(WeightType::q4_0)] = accumulate_q4_0_by_lookup;
  return kernels;
}

}  // namespace
}  // namespace thermocline
