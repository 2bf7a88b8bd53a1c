// A step of a warp on the tensor cores, and the same on a CPU.
//
// d = a · b + c, where a warp holds 16 rows of a, 8 columns of b, both of signed bytes, and d; add_tile() is d += a · b,
// where a's bytes may be unsigned. With
// g = lane / 4 and t = lane % 4, a lane has of a's rows g and g + 8 a word of the columns 4t..4t + 3 each and, where
// there are 32, then a word of the columns 16 + 4t.. each; of b's column g a word of the rows 4t.. and one of 16 + 4t..
// Its d are the products of row g with the columns 2t and 2t + 1, then those of row g + 8.
#pragma once

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

// The first sixteen columns, or the last, of add_tile().
template <bool Signed>
void add_half_tile(const uint32_t (&a)[2], uint32_t b, int (&d)[4]) {
  const unsigned g = emulated::place().thread % kWarp / 4, t = emulated::place().thread % 4;
  uint64_t rows[4];  // a copy, for other lanes may go past the next exchange
  std::memcpy(rows, emulated::exchange(a[0] | uint64_t{a[1]} << 32) + 4 * g, sizeof rows);
  const uint64_t* columns = emulated::exchange(b);
  for (unsigned i = 0; i < 4; ++i) {
    for (unsigned k = 0; k < 16; ++k) {
      const auto byte = static_cast<uint8_t>(rows[k / 4] >> (i / 2 * 32 + k % 4 * 8));
      const auto other = static_cast<int8_t>(columns[4 * (2 * t + i % 2) + k / 4] >> k % 4 * 8);
      d[i] += (Signed ? static_cast<int8_t>(byte) : byte) * other;
    }
  }
}
template <bool Signed>
void add_tile(const uint32_t (&a)[4], const uint32_t (&b)[2], int (&d)[4]) {
  add_half_tile<Signed>({a[0], a[1]}, b[0], d);
  add_half_tile<Signed>({a[2], a[3]}, b[1], d);
}
inline void multiply_tile(const uint32_t (&a)[2], uint32_t b, int c, int (&d)[4]) {
  for (int& each : d) each = c;
  add_half_tile<true>(a, b, d);
}
inline void multiply_tile(const uint32_t (&a)[4], const uint32_t (&b)[2], int c, int (&d)[4]) {
  for (int& each : d) each = c;
  add_tile<true>(a, b, d);
}

#endif

}  // namespace thermocline::cuda
