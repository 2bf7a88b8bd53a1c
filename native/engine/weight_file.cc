#include "weight_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "../error.h"

namespace thermocline {
namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  const int number = errno;
  throw Error(number == ENOENT ? ErrorCode::not_found : ErrorCode::system,
              std::string("cannot ") + what + " the model file " + path + ": " + std::strerror(number), "modelPath");
}

// Closes the descriptor whatever happens; a mapping does not need it.
struct Descriptor {
  int value;
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
};

}  // namespace

WeightFile::WeightFile(const std::string& path, uint64_t bytes) : path_(path), bytes_(bytes) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) fail(path, "open");
  struct stat status;
  if (::fstat(file.value, &status) != 0) fail(path, "examine");
  if (static_cast<uint64_t>(status.st_size) != bytes) {
    throw Error(ErrorCode::corrupt,
                "the model file " + path + " has " + std::to_string(status.st_size) + " bytes where the plan expects " +
                    std::to_string(bytes) + "; it changed since it was read, load it again",
                "modelBytes");
  }
  void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.value, 0);
  if (mapped == MAP_FAILED) fail(path, "map");
  data_ = static_cast<const std::byte*>(mapped);
}

WeightFile::~WeightFile() { ::munmap(const_cast<std::byte*>(data_), bytes_); }

const std::byte* WeightFile::slice(uint64_t offset, uint64_t bytes) const {
  if (offset > bytes_ || bytes > bytes_ - offset) {
    throw Error(ErrorCode::corrupt, std::to_string(bytes) + " bytes from offset " + std::to_string(offset) +
                                        " lie past the end of the model file " + path_);
  }
  return data_ + offset;
}

void WeightFile::will_need(uint64_t offset, uint64_t bytes) const { advise(offset, bytes, MADV_WILLNEED); }

void WeightFile::let_go(uint64_t offset, uint64_t bytes) const { advise(offset, bytes, MADV_DONTNEED); }

// Advice only: where the kernel takes none, pages come and go as it sees fit.
void WeightFile::advise(uint64_t offset, uint64_t bytes, int advice) const {
  const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t skew = offset % page;
  ::madvise(const_cast<std::byte*>(slice(offset, bytes) - skew), bytes + skew, advice);
}

}  // namespace thermocline
