// What tests of the card's kernels share: memory as a card lays it out, and the CPU's kernels to compare with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "../engine/cuda/card_rows.h"
#include "../engine/cuda/target.h"
#include "instruction_sets.h"
#include "weight_rows.h"

namespace thermocline::test {

#if defined(__CUDACC__)
// What kernels write is looked at as soon as they have been launched.
inline const int kBlocking = ::setenv("CUDA_LAUNCH_BLOCKING", "1", 1);

// Of memory that card and host share.
template <class T>
struct CardAllocator {
  using value_type = T;
  T* allocate(size_t count) {
    void* memory = nullptr;
    CHECK(cudaMallocManaged(&memory, count * sizeof(T)) == cudaSuccess);
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { cudaFree(memory); }
  bool operator==(const CardAllocator&) const = default;
};
#else
template <class T>
using CardAllocator = std::allocator<T>;
#endif

// At addresses that are multiples of 16. Holds NaNs until something is written.
template <class T>
class CardMemory {
 public:
  explicit CardMemory(size_t count)
      : pieces_((count * sizeof(T) + sizeof(cuda::Piece) - 1) / sizeof(cuda::Piece), cuda::Piece{{~0u, ~0u, ~0u, ~0u}}),
        count_(count) {}
  explicit CardMemory(const std::vector<T>& values) : CardMemory(values.size()) {
    std::copy(values.begin(), values.end(), data());
  }
  CardMemory(size_t count, const T& value) : CardMemory(std::vector<T>(count, value)) {}
  T* data() { return reinterpret_cast<T*>(pieces_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(pieces_.data()); }
  size_t size() const { return count_; }
  T& operator[](size_t index) { return data()[index]; }
  const T& operator[](size_t index) const { return data()[index]; }
  std::vector<T> values() const { return {data(), data() + count_}; }

 private:
  std::vector<cuda::Piece, CardAllocator<cuda::Piece>> pieces_;
  size_t count_;
};

// Rows of a file as the card has them.
inline CardMemory<std::byte> card_rows(WeightType type, const std::vector<Bytes>& rows, size_t cols) {
  const size_t bytes = cuda::card_row_bytes(type, cols);
  CardMemory<std::byte> card(rows.size() * bytes);
  for (size_t r = 0; r < rows.size(); ++r) {
    cuda::to_card_row(type, reinterpret_cast<const std::byte*>(rows[r].data()), cols, card.data() + r * bytes);
  }
  return card;
}

// With fused multiply-adds, as a card has them, where this CPU has any.
inline const Kernels& fusing_kernels() {
  const Kernels* fused = kernels_for(InstructionSet::avx2);
  return fused != nullptr ? *fused : scalar_kernels();
}

// The same bits, but that one NaN is as good as another: a card has only one.
template <class Number>
bool same_value(Number a, Number b) {
  return (a != a && b != b) || std::memcmp(&a, &b, sizeof a) == 0;
}

// Sums of the same numbers, in f64 or as wide: the same once rounded to f32, but for one that lies exactly between two
// floats, of which what another rounding did to it makes the other.
inline bool same_sum(double actual, double expected) {
  const float a = static_cast<float>(actual), e = static_cast<float>(expected);
  if (same_value(a, e)) return true;
  const double between = (double{a} + double{e}) / 2;
  return std::nextafter(a, e) == e && std::isfinite(between) && (actual == between || expected == between);
}

}  // namespace thermocline::test
