// Files in /dev/shm that go away with their creator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace thermocline {

// A file in /dev/shm, mapped whole. Its creator holds an exclusive flock for as long as it lives; that is how others
// know, also across pid namespaces, that the file is in use.
class SharedFile {
 public:
  // A new file of `bytes` zeros, mode 0600, mapped. Throws `out-of-memory` if /dev/shm lacks room: what is mapped is
  // also there, so that touching it can't end in a SIGBUS.
  static std::unique_ptr<SharedFile> create(uint64_t bytes);
  // An existing file, not mapped yet. Throws `not-found`, or `invalid-argument` if `name` is not a name of create().
  static std::unique_ptr<SharedFile> open(const std::string& name);
  // Unlinks the files whose creator is dead. Returns their names.
  static std::vector<std::string> sweep();

  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  // Unmaps; the creator also unlinks.
  ~SharedFile();

  const std::string& name() const { return name_; }  // thermocline-<pid>-<16 hex digits>, without folder
  uint64_t size() const;                             // the file's
  // Copies the file's first `bytes`; false if it is shorter.
  bool read(void* out, size_t bytes) const;
  void map(uint64_t bytes);
  char* data() const { return data_; }
  void unlink();  // idempotent

 private:
  SharedFile(std::string name, int descriptor, bool creator)
      : name_(std::move(name)), descriptor_(descriptor), creator_(creator) {}
  static std::unique_ptr<SharedFile> create_locked();

  std::string name_;
  int descriptor_;
  bool creator_;
  bool unlinked_ = false;
  char* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace thermocline
