// A step of a warp on the tensor cores, and the same on a CPU.
//
// d = a · b + c, where a warp holds 16 rows of a, 8 columns of b, both of signed bytes, and d; add_tile() is d += a · b,
// where a's bytes may be unsigned. With
// g = lane / 4 and t = lane % 4, a lane has of a's rows g and g + 8 a word of the columns 4t..4t + 3 each and, where
// there are 32, then a word of the columns 16 + 4t.. each; of b's column g a word of the rows 4t.. and one of 16 + 4t..
// Its d are the products of row g with the columns 2t and 2t + 1, then those of row g + 8.
#pragma once

#include <type_traits>

#include "target.h"

namespace thermocline::cuda {

#if defined(__CUDACC__)

THERMOCLINE_DEVICE void multiply_tile(const uint32_t (&a)[2], uint32_t b, int c, int (&d)[4]) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %7, %7, %7};"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(b), "r"(c));
#else
  for (unsigned i = 0; i < 2; ++i) {
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%4, %4};"
                 : "=r"(d[2 * i]), "=r"(d[2 * i + 1])
                 : "r"(a[i]), "r"(b), "r"(c));
  }
#endif
}
THERMOCLINE_DEVICE void multiply_tile(const uint32_t (&a)[4], const uint32_t (&b)[2], int c, int (&d)[4]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c));
#else
  multiply_tile({a[0], a[1]}, b[0], c, d);
  for (unsigned i = 0; i < 2; ++i) {
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(d[2 * i]), "+r"(d[2 * i + 1])
                 : "r"(a[2 + i]), "r"(b[1]));
  }
#endif
}

template <bool Signed>
THERMOCLINE_DEVICE void add_tile(const uint32_t (&a)[4], const uint32_t (&b)[2], int (&d)[4]) {
#if __CUDA_ARCH__ >= 800
#define THERMOCLINE_ADD_TILE(type)                                                                                  \
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." type ".s8.s32 "                                             \
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                    \
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))
  if constexpr (Signed) THERMOCLINE_ADD_TILE("s8");
  else THERMOCLINE_ADD_TILE("u8");
#else
#define THERMOCLINE_ADD_TILE(type, i)                                                                     \
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." type ".s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"     \
               : "+r"(d[2 * (i % 2)]), "+r"(d[2 * (i % 2) + 1])                                           \
               : "r"(a[i]), "r"(b[i / 2]))
  for (unsigned i = 0; i < 4; ++i) {
    if constexpr (Signed) THERMOCLINE_ADD_TILE("s8", i);
    else THERMOCLINE_ADD_TILE("u8", i);
  }
#endif
#undef THERMOCLINE_ADD_TILE
}

#else

// add_tile() with 16 or 32 columns of a.
template <bool Signed, unsigned Halves>
void add_columns(const uint32_t (&a)[2 * Halves], const uint32_t (&b)[Halves], int (&d)[4]) {
  using Byte = std::conditional_t<Signed, int8_t, uint8_t>;
  constexpr unsigned kColumns = 16 * Halves;
  const unsigned g = lane_index() / 4, t = lane_index() % 4;
  uint32_t words[2][kColumns / 4];
  Byte rows[2][kColumns];
  for (unsigned half = 0; half < Halves; ++half) {
    const uint64_t* all = emulated::exchange(a[2 * half] | uint64_t{a[2 * half + 1]} << 32);
    for (unsigned k = 0; k < 4; ++k) {
      words[0][4 * half + k] = static_cast<uint32_t>(all[4 * g + k]);
      words[1][4 * half + k] = static_cast<uint32_t>(all[4 * g + k] >> 32);
    }
  }
  std::memcpy(rows, words, sizeof rows);
  int8_t columns[2][kColumns];
  const uint64_t* all = emulated::exchange(b[0] | (Halves == 2 ? uint64_t{b[Halves - 1]} << 32 : 0));
  for (unsigned i = 0; i < 2; ++i) {
    for (unsigned half = 0; half < Halves; ++half) {
      for (unsigned k = 0; k < 4; ++k) {
        words[i][4 * half + k] = static_cast<uint32_t>(all[4 * (2 * t + i) + k] >> 32 * half);
      }
    }
  }
  std::memcpy(columns, words, sizeof columns);
  for (unsigned i = 0; i < 4; ++i) {
    int sum = d[i];
    // As a loop it becomes vector instructions, which spread out it does not.
#pragma GCC unroll 1
    for (unsigned k = 0; k < kColumns; ++k) sum += rows[i / 2][k] * columns[i % 2][k];
    d[i] = sum;
  }
}
template <bool Signed>
void add_tile(const uint32_t (&a)[4], const uint32_t (&b)[2], int (&d)[4]) {
  add_columns<Signed, 2>(a, b, d);
}
inline void multiply_tile(const uint32_t (&a)[2], uint32_t b, int c, int (&d)[4]) {
  for (int& each : d) each = c;
  add_columns<true, 1>(a, {b}, d);
}
inline void multiply_tile(const uint32_t (&a)[4], const uint32_t (&b)[2], int c, int (&d)[4]) {
  for (int& each : d) each = c;
  add_columns<true, 2>(a, b, d);
}

#endif

}  // namespace thermocline::cuda
