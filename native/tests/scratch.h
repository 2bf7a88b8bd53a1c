// Objects that take scratch when they are made.
#pragma once

#include <cstdint>
#include <vector>

#include "../engine/memory_layout.h"

namespace thermocline::test {

// A Made(arguments..., MemoryLayout&), and the scratch that it takes, in memory of its own.
template <class Made, class Memory = std::vector<std::byte>>
class WithScratch {
 public:
  template <class... Arguments>
  explicit WithScratch(const Arguments&... arguments)
      : memory_(bytes(arguments...) + MemoryLayout::kAlignment), layout_(aligned()), made_(arguments..., layout_) {}
  WithScratch(const WithScratch&) = delete;
  WithScratch& operator=(const WithScratch&) = delete;

  Made* operator->() { return &made_; }

 private:
  template <class... Arguments>
  static size_t bytes(const Arguments&... arguments) {
    MemoryLayout measured;
    Made(arguments..., measured);
    return measured.bytes();
  }
  std::byte* aligned() {
    const auto address = reinterpret_cast<uintptr_t>(memory_.data());
    return memory_.data() + (MemoryLayout::kAlignment - address % MemoryLayout::kAlignment);
  }

  Memory memory_;
  MemoryLayout layout_;
  Made made_;
};

}  // namespace thermocline::test
