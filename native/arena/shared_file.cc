#include "shared_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "../error.h"
#include "random.h"

namespace thermocline {
namespace {

constexpr char kFolder[] = "/dev/shm";
constexpr char kPrefix[] = "thermocline-";

std::string path_of(const std::string& name) { return std::string(kFolder) + "/" + name; }

[[noreturn]] void throw_system(const std::string& what, int error) {
  throw Error(ErrorCode::system, what + ": " + std::strerror(error));
}

bool is_name(const std::string& name) {
  return name.starts_with(kPrefix) && name.size() < NAME_MAX && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

std::string fresh_name() {
  char name[64];
  std::snprintf(name, sizeof(name), "%s%d-%016llx", kPrefix, getpid(), static_cast<unsigned long long>(random_bits()));
  return name;
}

std::string mebibytes(uint64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

[[noreturn]] void throw_no_room(uint64_t bytes) {
  struct statvfs room {};
  statvfs(kFolder, &room);
  throw Error(ErrorCode::out_of_memory,
              "the arena needs " + mebibytes(bytes) + " of shared memory, and " + kFolder + " has " +
                  mebibytes(room.f_bavail * room.f_frsize) + " left of " + mebibytes(room.f_blocks * room.f_frsize) +
                  ": enlarge it (in a container with --shm-size) or lower the rows in a step");
}

bool has_name(int descriptor) {
  struct stat file {};
  return fstat(descriptor, &file) == 0 && file.st_nlink > 0;
}

}  // namespace

// A sweep may meet the new file before its lock is taken, and then removes it: the loser of that race starts over.
std::unique_ptr<SharedFile> SharedFile::create_locked() {
  for (;;) {
    std::string name = fresh_name();
    const int descriptor = ::open(path_of(name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0) throw_system("can't create " + path_of(name), errno);
    std::unique_ptr<SharedFile> file(new SharedFile(std::move(name), descriptor, true));
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 && has_name(descriptor)) return file;
  }
}

std::unique_ptr<SharedFile> SharedFile::create(uint64_t bytes) {
  auto file = create_locked();
  int error;
  do {
    error = posix_fallocate(file->descriptor_, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  if (error == ENOSPC || error == ENOMEM || error == EFBIG) throw_no_room(bytes);
  if (error != 0) throw_system("can't take " + mebibytes(bytes) + " for " + path_of(file->name_), error);
  file->map(bytes);
  return file;
}

std::unique_ptr<SharedFile> SharedFile::open(const std::string& name) {
  if (!is_name(name)) throw Error(ErrorCode::invalid_argument, "'" + name + "' is no arena's name", "name");
  const int descriptor = ::open(path_of(name).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0 && errno == ENOENT) throw Error(ErrorCode::not_found, "there is no arena " + name, "name");
  if (descriptor < 0) throw_system("can't open " + path_of(name), errno);
  return std::unique_ptr<SharedFile>(new SharedFile(name, descriptor, false));
}

SharedFile::~SharedFile() {
  if (data_ != nullptr) munmap(data_, bytes_);
  if (creator_ && !unlinked_) ::unlink(path_of(name_).c_str());
  close(descriptor_);
}

uint64_t SharedFile::size() const {
  struct stat file {};
  if (fstat(descriptor_, &file) != 0) throw_system("can't look at " + path_of(name_), errno);
  return static_cast<uint64_t>(file.st_size);
}

bool SharedFile::read(void* out, size_t bytes) const {
  return pread(descriptor_, out, bytes, 0) == static_cast<ssize_t>(bytes);
}

void SharedFile::map(uint64_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_, 0);
  if (data == MAP_FAILED && errno == ENOMEM) {
    throw Error(ErrorCode::out_of_memory, "no address space for the arena's " + mebibytes(bytes));
  }
  if (data == MAP_FAILED) throw_system("can't map " + path_of(name_), errno);
  data_ = static_cast<char*>(data);
  bytes_ = bytes;
}

void SharedFile::unlink() {
  if (::unlink(path_of(name_).c_str()) != 0 && errno != ENOENT) throw_system("can't unlink " + path_of(name_), errno);
  unlinked_ = true;
}

std::vector<std::string> SharedFile::sweep() {
  std::vector<std::string> swept;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(kFolder), closedir);
  if (!folder) return swept;
  while (const dirent* entry = readdir(folder.get())) {
    if (!is_name(entry->d_name)) continue;
    // What belongs to other users can't be opened and is none of ours.
    const int descriptor = ::open(path_of(entry->d_name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) continue;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 && ::unlink(path_of(entry->d_name).c_str()) == 0) {
      swept.emplace_back(entry->d_name);
    }
    close(descriptor);
  }
  return swept;
}

}  // namespace thermocline
