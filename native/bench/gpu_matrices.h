// Memory of the card for benchmarks, and matrices of random weights in it, in as many copies as it takes to push each
// other out of the card's cache.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../engine/cuda/card_rows.h"
#include "../engine/cuda/target.h"
#include "../error.h"
#include "../kernels/half.h"

namespace thermocline::bench {

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  throw Error(ErrorCode::system, std::string("the card failed to ") + what + ": " + cudaGetErrorString(result));
}

// One allocation that every case divides anew.
class CardSlab {
 public:
  explicit CardSlab(size_t bytes) : bytes_(bytes) {
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "give memory to measure in");
    memory_ = static_cast<std::byte*>(memory);
  }
  ~CardSlab() { cudaFree(memory_); }
  CardSlab(const CardSlab&) = delete;
  CardSlab& operator=(const CardSlab&) = delete;

  void clear() { used_ = 0; }
  size_t left() const { return bytes_ - used_; }
  // Throws Error `out_of_memory`.
  template <class T>
  T* take(size_t count) {
    const size_t bytes = cuda::round_up(count * sizeof(T), kAlignment);
    if (bytes > left()) throw Error(ErrorCode::out_of_memory, "the card has too little memory");
    used_ += bytes;
    return reinterpret_cast<T*>(memory_ + used_ - bytes);
  }
  template <class T>
  T* put(const std::vector<T>& values) {
    T* memory = take<T>(values.size());
    const size_t bytes = values.size() * sizeof(T);
    check(cudaMemcpy(memory, values.data(), bytes, cudaMemcpyHostToDevice), "take a benchmark's data");
    return memory;
  }

 private:
  static constexpr size_t kAlignment = 256;
  std::byte* memory_ = nullptr;
  size_t bytes_, used_ = 0;
};

using Random = std::mt19937;

// Below 1 in magnitude.
inline float random_float(Random& random) {
  return static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(random()))) * 0x1p-31f;
}

inline std::vector<float> random_floats(Random& random, size_t count) {
  std::vector<float> all(count);
  for (float& value : all) value = random_float(random);
  return all;
}

// A row as files have it: random bits, with scales of either sign that keep sums small.
inline std::vector<std::byte> random_row(Random& random, WeightType type, size_t cols) {
  std::vector<std::byte> row(row_bytes(type, cols));
  const auto put_half = [&](size_t at, float value) {
    const uint16_t half = to_f16(value);
    std::memcpy(row.data() + at, &half, sizeof half);
  };
  const size_t elements = block_elements(type);
  if (elements == 1) {
    for (size_t c = 0; c < cols; ++c) {
      const float value = random_float(random);
      if (type == WeightType::f16) put_half(2 * c, value);
      else if (type == WeightType::f32) std::memcpy(row.data() + 4 * c, &value, sizeof value);
      else std::memcpy(row.data() + 2 * c, reinterpret_cast<const std::byte*>(&value) + 2, 2);
    }
    return row;
  }
  for (std::byte& byte : row) byte = static_cast<std::byte>(random());
  const size_t block = row_bytes(type, elements);
  for (size_t start = 0; start < row.size(); start += block) {
    put_half(start + (type == WeightType::q6_k ? kQ6_KScale : 0), 0x1p-10f * random_float(random));
    if (type == WeightType::q4_k || type == WeightType::q5_k) {
      put_half(start + kKScaleOfMinimums, 0x1p-10f * random_float(random));
    }
  }
  return row;
}

THERMOCLINE_KERNEL void repeat_pieces(const uint4* from, size_t count, uint4* to, size_t total) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < total; i += step) to[i] = from[i % count];
}

// Different rows of a matrix; the others repeat them. Prime, so that no block of threads sees the same ones again.
inline constexpr size_t kDistinctRows = 499;

// `copies` alike matrices, on the card.
inline std::vector<cuda::CardMatrix> random_matrices(CardSlab& slab, Random& random, WeightType type, unsigned count,
                                                     unsigned cols, size_t copies) {
  const size_t row = cuda::card_row_bytes(type, cols), distinct = std::min<size_t>(kDistinctRows, count);
  std::vector<std::byte> rows(distinct * row);
  for (size_t r = 0; r < distinct; ++r) {
    cuda::to_card_row(type, random_row(random, type, cols).data(), cols, rows.data() + r * row);
  }
  const std::byte* from = slab.put(rows);
  std::vector<cuda::CardMatrix> matrices;
  for (size_t c = 0; c < copies; ++c) {
    std::byte* to = slab.take<std::byte>(count * row);
    repeat_pieces<<<1024, 256>>>(reinterpret_cast<const uint4*>(from), rows.size() / sizeof(uint4),
                                 reinterpret_cast<uint4*>(to), count * row / sizeof(uint4));
    check(cudaGetLastError(), "lay out weights");
    matrices.push_back({to, type, count, cols});
  }
  check(cudaDeviceSynchronize(), "lay out weights");
  return matrices;
}

}  // namespace thermocline::bench
