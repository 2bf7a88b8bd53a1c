// What kernels may use, on a card (compiled by nvcc) and on a CPU (emulation.h).
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "../../kernels/half.h"
#include "stream.h"

#if defined(__CUDACC__)

#include <cuda_fp16.h>

#include <string>

#include "../../error.h"

#define THERMOCLINE_KERNEL static __global__
// Of so many threads a block, with registers for so many blocks at once.
#define THERMOCLINE_KERNEL_OF(threads, blocks) THERMOCLINE_KERNEL __launch_bounds__(threads, blocks)
#define THERMOCLINE_DEVICE __device__ __forceinline__
#define THERMOCLINE_ANYWHERE __host__ __device__ __forceinline__
// Before a loop over what must stay in registers, which cannot be indexed.
#define THERMOCLINE_UNROLL _Pragma("unroll")
// Before a loop: how many of its rounds go together, so that their loads are under way at once.
#define THERMOCLINE_UNROLL_BY(rounds) THERMOCLINE_PRAGMA(unroll(rounds))
#define THERMOCLINE_PRAGMA(text) _Pragma(#text)

#else

#include "emulation.h"

#define THERMOCLINE_KERNEL inline
#define THERMOCLINE_KERNEL_OF(threads, blocks) THERMOCLINE_KERNEL
#define THERMOCLINE_DEVICE inline
#define THERMOCLINE_ANYWHERE inline
#define THERMOCLINE_UNROLL
#define THERMOCLINE_UNROLL_BY(rounds)

#endif

namespace thermocline::cuda {

inline constexpr unsigned kWarp = 32;

// Sixteen bytes, read at once; at an address that is a multiple of 16.
struct alignas(16) Piece {
  uint32_t words[4];
};

// Eight, at a multiple of 8.
struct alignas(8) HalfPiece {
  uint32_t words[2];
};

struct alignas(16) FourFloats {
  float values[4];
};

#if defined(__CUDACC__)

struct Extent {
  unsigned x = 1, y = 1;
};

struct Launch {
  Extent grid;
  unsigned threads;
  size_t shared_bytes = 0;
};

inline void check_launch(cudaError_t result) {
  if (result == cudaSuccess) return;
  throw Error(ErrorCode::system, std::string("a kernel could not be launched: ") + cudaGetErrorString(result));
}

template <class... Parameters, class... Arguments>
void launch(Stream stream, void (*kernel)(Parameters...), const Launch& shape, Arguments... arguments) {
  // More has to be asked for; a card that does not have it refuses.
  constexpr size_t kSharedByDefault = 48 << 10;
  if (shape.shared_bytes > kSharedByDefault) {
    check_launch(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(shape.shared_bytes)));
  }
  kernel<<<dim3(shape.grid.x, shape.grid.y), shape.threads, shape.shared_bytes, stream>>>(arguments...);
  check_launch(cudaGetLastError());
}

THERMOCLINE_DEVICE unsigned thread_index() { return threadIdx.x; }
THERMOCLINE_DEVICE unsigned block_threads() { return blockDim.x; }
THERMOCLINE_DEVICE Extent block_index() { return {blockIdx.x, blockIdx.y}; }
THERMOCLINE_DEVICE Extent grid_extent() { return {gridDim.x, gridDim.y}; }
THERMOCLINE_DEVICE std::byte* shared_memory() {
  extern __shared__ Piece memory[];
  return reinterpret_cast<std::byte*>(memory);
}
THERMOCLINE_DEVICE void sync_threads() { __syncthreads(); }
THERMOCLINE_DEVICE void sync_warp() { __syncwarp(); }
template <class T>
THERMOCLINE_DEVICE T from_lane(T mine, unsigned lane) {
  return __shfl_sync(0xffffffffu, mine, static_cast<int>(lane));
}
THERMOCLINE_DEVICE uint32_t ballot(bool mine) { return __ballot_sync(0xffffffffu, mine); }
THERMOCLINE_DEVICE int count_bits(uint32_t bits) { return __popc(bits); }
// Of a number that is not 0.
THERMOCLINE_DEVICE unsigned lowest_bit(uint32_t bits) { return static_cast<unsigned>(__ffs(static_cast<int>(bits))) - 1; }
// For counts and sets of bits, whose order does not show.
THERMOCLINE_DEVICE void add_atomically(uint32_t* to, uint32_t value) { atomicAdd(to, value); }
THERMOCLINE_DEVICE void set_atomically(uint32_t* to, uint32_t bits) { atomicOr(to, bits); }
// c + the four products of signed bytes.
THERMOCLINE_DEVICE int dot4(uint32_t a, uint32_t b, int c) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
}
// Four of the eight bytes of a and then b, the i-th the one that digit i of `which` counts to.
THERMOCLINE_DEVICE uint32_t bytes_of(uint32_t a, uint32_t b, uint32_t which) { return __byte_perm(a, b, which); }
// c + a * b. One instruction, which the compiler does not find by itself.
THERMOCLINE_DEVICE int64_t multiply_add(int a, int b, int64_t c) {
  asm("mad.wide.s32 %0, %1, %2, %0;" : "+l"(c) : "r"(a), "r"(b));
  return c;
}
THERMOCLINE_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
THERMOCLINE_DEVICE uint16_t float_to_half(float value) { return __half_as_ushort(__float2half_rn(value)); }
// What does not fit becomes the number next to it, what is no number 0.
THERMOCLINE_DEVICE int integer_part(float value) { return __float2int_rz(value); }
THERMOCLINE_DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }
THERMOCLINE_DEVICE uint32_t bits_of(float value) { return __float_as_uint(value); }
// Weights are read once a token, and are not to push anything else out of the caches. They do not change while a kernel
// runs, so unlike __ldcs() these reads may be reordered, and done once for what several rows of activations make of them.
THERMOCLINE_DEVICE Piece read_once(const Piece* from) {
  Piece piece;
  asm("ld.global.cs.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(piece.words[0]), "=r"(piece.words[1]), "=r"(piece.words[2]), "=r"(piece.words[3])
      : "l"(from));
  return piece;
}
THERMOCLINE_DEVICE HalfPiece read_once(const HalfPiece* from) {
  HalfPiece half;
  asm("ld.global.cs.v2.u32 {%0, %1}, [%2];" : "=r"(half.words[0]), "=r"(half.words[1]) : "l"(from));
  return half;
}
THERMOCLINE_DEVICE uint32_t read_once(const uint32_t* from) {
  uint32_t word;
  asm("ld.global.cs.u32 %0, [%1];" : "=r"(word) : "l"(from));
  return word;
}

#else

inline unsigned thread_index() { return emulated::place().thread; }
inline unsigned block_threads() { return emulated::place().threads; }
inline Extent block_index() { return emulated::place().block; }
inline Extent grid_extent() { return emulated::place().grid; }
inline std::byte* shared_memory() { return emulated::shared_memory(); }
inline void sync_threads() { emulated::sync_threads(); }
inline void sync_warp() { emulated::sync_warp(); }
template <class T>
T from_lane(T mine, unsigned lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &mine, sizeof mine);
  T value;
  std::memcpy(&value, emulated::exchange(bits) + lane % kWarp, sizeof value);
  return value;
}
inline uint32_t ballot(bool mine) {
  const uint64_t* all = emulated::exchange(mine ? 1 : 0);
  uint32_t bits = 0;
  for (unsigned lane = 0; lane < kWarp; ++lane) bits |= static_cast<uint32_t>(all[lane]) << lane;
  return bits;
}
inline int count_bits(uint32_t bits) { return std::popcount(bits); }
inline unsigned lowest_bit(uint32_t bits) { return static_cast<unsigned>(std::countr_zero(bits)); }
inline void add_atomically(uint32_t* to, uint32_t value) { *to += value; }
inline void set_atomically(uint32_t* to, uint32_t bits) { *to |= bits; }
inline int dot4(uint32_t a, uint32_t b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
inline uint32_t bytes_of(uint32_t a, uint32_t b, uint32_t which) {
  const uint64_t both = a | uint64_t{b} << 32;
  uint32_t bytes = 0;
  for (int i = 0; i < 32; i += 8) bytes |= static_cast<uint32_t>(both >> (which >> i / 2 & 7) * 8 & 0xff) << i;
  return bytes;
}
inline int64_t multiply_add(int a, int b, int64_t c) { return c + int64_t{a} * b; }
inline float half_to_float(uint16_t bits) { return from_f16(bits); }
inline uint16_t float_to_half(float value) { return to_f16(value); }
inline int integer_part(float value) {
  constexpr int kMost = std::numeric_limits<int>::max();
  if (fabsf(value) < 0x1p31f) return static_cast<int>(value);
  return value > 0 ? kMost : value < 0 ? -kMost - 1 : 0;
}
inline float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
inline Piece read_once(const Piece* from) { return *from; }
inline HalfPiece read_once(const HalfPiece* from) { return *from; }
inline uint32_t read_once(const uint32_t* from) { return *from; }

#endif

THERMOCLINE_DEVICE unsigned lane_index() { return thread_index() % kWarp; }

}  // namespace thermocline::cuda
