// A copy of some bytes at a chosen misalignment, with a watch on what lies around it.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>

namespace thermocline::test {

inline constexpr size_t kMisalignments = 16;

// Guard bytes surround the copy; they hold 0xff, a NaN in every float format, so that reading them shows in a result.
// Under the address sanitizer the copy ends where its allocation ends instead, so that reading past it is an error.
class Placed {
 public:
  Placed(const void* data, size_t bytes, size_t misalignment)
      : before_(kMisalignments + misalignment), bytes_(bytes), memory_(new unsigned char[before_ + bytes + kAfter]) {
    std::memset(memory_.get(), kGuard, before_ + bytes + kAfter);
    if (bytes_ > 0) std::memcpy(memory_.get() + before_, data, bytes_);
  }

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(memory_.get() + before_);
  }

  bool holds(const void* data) const { return bytes_ == 0 || std::memcmp(memory_.get() + before_, data, bytes_) == 0; }

  bool guards_intact() const {
    for (size_t i = 0; i < before_; ++i) {
      if (memory_[i] != kGuard) return false;
    }
    for (size_t i = before_ + bytes_; i < before_ + bytes_ + kAfter; ++i) {
      if (memory_[i] != kGuard) return false;
    }
    return true;
  }

 private:
  static constexpr unsigned char kGuard = 0xff;
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t kAfter = 0;
#else
  static constexpr size_t kAfter = 64;
#endif
  size_t before_, bytes_;
  std::unique_ptr<unsigned char[]> memory_;
};

}  // namespace thermocline::test
