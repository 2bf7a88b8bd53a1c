// What kernels may use, on a card (compiled by nvcc) and on a CPU (emulation.h).
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../../kernels/half.h"
#include "stream.h"

#if defined(__CUDACC__)

#include <cuda_fp16.h>

#define THERMOCLINE_KERNEL __global__
#define THERMOCLINE_DEVICE __device__ __forceinline__

#else

#include "emulation.h"

#define THERMOCLINE_KERNEL
#define THERMOCLINE_DEVICE inline

#endif

namespace thermocline::cuda {

inline constexpr unsigned kWarp = 32;

// Sixteen bytes, read at once; at an address that is a multiple of 16.
struct alignas(16) Piece {
  uint32_t words[4];
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

template <class... Parameters, class... Arguments>
void launch(Stream stream, void (*kernel)(Parameters...), const Launch& shape, Arguments... arguments) {
  kernel<<<dim3(shape.grid.x, shape.grid.y), shape.threads, shape.shared_bytes, stream>>>(arguments...);
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
// c + the four products of signed bytes.
THERMOCLINE_DEVICE int dot4(uint32_t a, uint32_t b, int c) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
}
THERMOCLINE_DEVICE float half_to_float(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
THERMOCLINE_DEVICE float float_of(uint32_t bits) { return __uint_as_float(bits); }
THERMOCLINE_DEVICE uint32_t bits_of(float value) { return __float_as_uint(value); }
// Weights are read once a token, and are not to push anything else out of the caches.
THERMOCLINE_DEVICE Piece read_once(const Piece* from) {
  const uint4 value = __ldcs(reinterpret_cast<const uint4*>(from));
  return {{value.x, value.y, value.z, value.w}};
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
inline int dot4(uint32_t a, uint32_t b, int c) {
  for (int i = 0; i < 32; i += 8) c += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  return c;
}
inline float half_to_float(uint16_t bits) { return from_f16(bits); }
inline float float_of(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
inline Piece read_once(const Piece* from) { return *from; }

#endif

THERMOCLINE_DEVICE unsigned lane_index() { return thread_index() % kWarp; }

}  // namespace thermocline::cuda
