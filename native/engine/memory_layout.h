// Lays several arrays out in one block of memory. Run over no block it only measures, so what memory_needs() says and
// what a load takes come from the same code and cannot differ.
#pragma once

#include <cstddef>
#include <cstdint>

#include "checked.h"

namespace thermocline {

// `base + offset`, or nullptr while only measuring.
inline std::byte* at(std::byte* base, uint64_t offset) { return base == nullptr ? nullptr : base + offset; }

class MemoryLayout {
 public:
  // Arrays start on cache lines.
  static constexpr uint64_t kAlignment = 64;

  MemoryLayout() = default;                                // measures
  explicit MemoryLayout(std::byte* base) : base_(base) {}  // aligned to kAlignment

  template <class T>
  T* take(uint64_t count) {
    return reinterpret_cast<T*>(take_bytes(checked_product({count, sizeof(T)})));
  }

  std::byte* take_bytes(uint64_t bytes) {
    const uint64_t start = checked_sum(bytes_, kAlignment - 1) / kAlignment * kAlignment;
    bytes_ = checked_sum(start, bytes);
    return at(base_, start);
  }

  bool measuring() const { return base_ == nullptr; }
  uint64_t bytes() const { return bytes_; }

 private:
  std::byte* base_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace thermocline
