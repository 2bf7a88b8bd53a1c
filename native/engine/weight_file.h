// A model file mapped read-only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace thermocline {

class WeightFile {
 public:
  // Throws Error: `not_found`, `corrupt` if the file's size is not `bytes`, `system`.
  WeightFile(const std::string& path, uint64_t bytes);
  ~WeightFile();
  WeightFile(const WeightFile&) = delete;
  WeightFile& operator=(const WeightFile&) = delete;

  uint64_t bytes() const { return bytes_; }
  const std::byte* data() const { return data_; }

  // `bytes` bytes from `offset`. Throws Error `corrupt` when they are not all in the file.
  const std::byte* slice(uint64_t offset, uint64_t bytes) const;

  // Copies these bytes to `to` without mapping their pages into this process. Throws Error: as slice(), `system`.
  void read(uint64_t offset, uint64_t bytes, std::byte* to) const;

  // Asks the kernel to read these bytes ahead.
  void will_need(uint64_t offset, uint64_t bytes) const;

  // Takes these bytes' pages out of this process; they stay in the kernel's cache, and come back when they are touched.
  void let_go(uint64_t offset, uint64_t bytes) const;

 private:
  void advise(uint64_t offset, uint64_t bytes, int advice) const;

  std::string path_;
  int file_;
  uint64_t bytes_;
  const std::byte* data_;
};

}  // namespace thermocline
