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

int open_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path, "open");
  return file;
}

}  // namespace

WeightFile::WeightFile(const std::string& path, uint64_t bytes) : path_(path), file_(open_file(path)), bytes_(bytes) {
  try {
    struct stat status;
    if (::fstat(file_, &status) != 0) fail(path, "examine");
    if (static_cast<uint64_t>(status.st_size) != bytes) {
      throw Error(ErrorCode::corrupt,
                  "the model file " + path + " has " + std::to_string(status.st_size) +
                      " bytes where the plan expects " + std::to_string(bytes) +
                      "; it changed since it was read, load it again",
                  "modelBytes");
    }
    void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file_, 0);
    if (mapped == MAP_FAILED) fail(path, "map");
    data_ = static_cast<const std::byte*>(mapped);
  } catch (...) {
    ::close(file_);
    throw;
  }
}

WeightFile::~WeightFile() {
  ::munmap(const_cast<std::byte*>(data_), bytes_);
  ::close(file_);
}

const std::byte* WeightFile::slice(uint64_t offset, uint64_t bytes) const {
  if (offset > bytes_ || bytes > bytes_ - offset) {
    throw Error(ErrorCode::corrupt, std::to_string(bytes) + " bytes from offset " + std::to_string(offset) +
                                        " lie past the end of the model file " + path_);
  }
  return data_ + offset;
}

void WeightFile::read(uint64_t offset, uint64_t bytes, std::byte* to) const {
  slice(offset, bytes);
  while (bytes > 0) {
    const ssize_t count = ::pread(file_, to, bytes, static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "read");
    if (count == 0) throw Error(ErrorCode::corrupt, "the model file " + path_ + " became shorter while it was in use");
    to += count;
    offset += static_cast<uint64_t>(count);
    bytes -= static_cast<uint64_t>(count);
  }
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
