// Products with rows of blocks as the file has them, eight rows at a time: each row's lanes are added up by transposing
// the eight, so that scales and sums are vectors over rows. In 256 bits for every instruction set: a block of 32 quants
// fills one.
#pragma once

#include "dots.h"
#include "panels.h"

namespace thermocline {
namespace {

constexpr size_t kRowsAtOnce = 8;
using RowPointers = const uint8_t* const*;

// Lane r: the sum of lanes[r]'s first half, and of its second.
struct Halves {
  __m256i first, second;
  __m256i total() const { return _mm256_add_epi32(first, second); }
};

Halves sums_of(const __m256i (&lanes)[kRowsAtOnce]) {
  const __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(lanes[0], lanes[1]), _mm256_hadd_epi32(lanes[2], lanes[3]));
  const __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(lanes[4], lanes[5]), _mm256_hadd_epi32(lanes[6], lanes[7]));
  return {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
}

// The same for lanes below 2^14 in magnitude, as sums of four products with up to five bits are: sums of two of them
// still fit 16 bits, in which half as many shuffles do.
Halves sums_of_small(const __m256i (&lanes)[kRowsAtOnce]) {
  const auto pairs = [](__m256i a, __m256i b) {
    return _mm256_madd_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(1));
  };
  const __m256i low = pairs(pairs(lanes[0], lanes[1]), pairs(lanes[2], lanes[3]));
  const __m256i high = pairs(pairs(lanes[4], lanes[5]), pairs(lanes[6], lanes[7]));
  return {_mm256_permute2x128_si256(low, high, 0x20), _mm256_permute2x128_si256(low, high, 0x31)};
}

// Lane i: the half whose bits are half(i). Put together in a register, where stores would have to be waited for.
template <class Half>
__m256 eight_halves(const Half& half) {
  __m128i halves = _mm_cvtsi32_si128(static_cast<uint16_t>(half(0)));
  halves = _mm_insert_epi16(halves, half(1), 1);
  halves = _mm_insert_epi16(halves, half(2), 2);
  halves = _mm_insert_epi16(halves, half(3), 3);
  halves = _mm_insert_epi16(halves, half(4), 4);
  halves = _mm_insert_epi16(halves, half(5), 5);
  halves = _mm_insert_epi16(halves, half(6), 6);
  halves = _mm_insert_epi16(halves, half(7), 7);
  return _mm256_cvtph_ps(halves);
}

// Lane r: the half at rows[r] + offset.
__m256 gather_halves(RowPointers rows, size_t offset) {
  return eight_halves([&](size_t r) { return load<int16_t>(rows[r] + offset); });
}

// Lane r: the four bytes at rows[r] + offset.
__m256i gather_ints(RowPointers rows, size_t offset) {
  return _mm256_setr_epi32(load<int32_t>(rows[0] + offset), load<int32_t>(rows[1] + offset),
                           load<int32_t>(rows[2] + offset), load<int32_t>(rows[3] + offset),
                           load<int32_t>(rows[4] + offset), load<int32_t>(rows[5] + offset),
                           load<int32_t>(rows[6] + offset), load<int32_t>(rows[7] + offset));
}

__m256i nibbles_of(const uint8_t* packed) {
  const __m256i both = _mm256_broadcastsi128_si256(load128(packed));
  return Lanes256::low_nibbles(_mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)));
}

// d * integer for the block at `offset` of every row.
__m256 scaled(RowPointers rows, size_t offset, __m256i integers) {
  return _mm256_mul_ps(gather_halves(rows, offset), _mm256_cvtepi32_ps(integers));
}

template <class Dot>
struct RowsQ8_0 {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kQ8_0BlockBytes;
  RowsQ8_0(RowPointers rows, size_t offset) : rows_(rows), offset_(offset) {}

  // Lane r: what sub-block `sub` of row r's block adds to its product, but for x's scale.
  __m256 value(size_t, const uint8_t* x) const {
    const __m256i quants = load256(x + kActivationQuants);
    __m256i lanes[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      lanes[r] = Dot::add_bytes(_mm256_setzero_si256(), load256(rows_[r] + offset_ + kWeightQuants), quants);
    }
    const __m256i zeros = _mm256_set1_epi32(Dot::kByteZero * load<int32_t>(x + kActivationSum));
    return scaled(rows_, offset_, _mm256_sub_epi32(sums_of(lanes).total(), zeros));
  }

 private:
  RowPointers rows_;
  size_t offset_;
};

template <class Dot>
struct RowsQ4_0 {
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kQ4_0BlockBytes;
  RowsQ4_0(RowPointers rows, size_t offset) : rows_(rows), offset_(offset) {}

  __m256 value(size_t, const uint8_t* x) const {
    const __m256i quants = load256(x + kActivationQuants);
    __m256i lanes[kRowsAtOnce];
    for (size_t r = 0; r < kRowsAtOnce; ++r) {
      lanes[r] = Dot::small_by_signed(nibbles_of(rows_[r] + offset_ + kWeightQuants), quants);
    }
    const __m256i zeros = _mm256_set1_epi32(8 * load<int32_t>(x + kActivationSum));
    return scaled(rows_, offset_, _mm256_sub_epi32(sums_of_small(lanes).total(), zeros));
  }

 private:
  RowPointers rows_;
  size_t offset_;
};

template <template <class> class Sums, class Block>
void block_tile(RowPointers rows, const uint8_t* x, size_t cols, typename Sums<Lanes256>::Number* y) {
  Sums<Lanes256> sums;
  AskAhead ahead(rows, kRowsAtOnce);
  for (size_t offset = 0, i = 0; i < cols; i += Block::kElements, offset += Block::kBytes) {
    ahead.to(offset);
    const Block block(rows, offset);
#pragma GCC unroll 8
    for (size_t sub = 0; sub < Block::kElements / kBlock; ++sub, x += kActivationBytes) {
      sums.add(_mm256_mul_ps(_mm256_set1_ps(load<float>(x)), block.value(sub, x)));
    }
  }
  sums.put(y);
}

template <template <class> class Sums, class Block>
void multiply_block_rows(const std::byte* const* rows, size_t count, const Activations& x, size_t cols,
                         typename Sums<Lanes256>::Number* y, size_t y_stride) {
  using Number = typename Sums<Lanes256>::Number;
  for (size_t i = 0; i < count; i += kRowsAtOnce) {
    const size_t present = count - i < kRowsAtOnce ? count - i : kRowsAtOnce;
    const uint8_t* eight[kRowsAtOnce];
    // The last row stands in for those that are missing.
    for (size_t r = 0; r < kRowsAtOnce; ++r) eight[r] = bytes_of(rows[i + (r < present ? r : present - 1)]);
    for (size_t j = 0; j < x.count; ++j) {
      Number* to = y + j * y_stride + i;
      if (present == kRowsAtOnce) {
        block_tile<Sums, Block>(eight, row_of(x, j), cols, to);
        continue;
      }
      Number some[kRowsAtOnce] = {};
      __builtin_memcpy(some, to, present * sizeof(Number));
      block_tile<Sums, Block>(eight, row_of(x, j), cols, some);
      __builtin_memcpy(to, some, present * sizeof(Number));
    }
  }
}

}  // namespace
}  // namespace thermocline
