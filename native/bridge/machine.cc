#include "machine.h"

#include <sched.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

namespace thermocline::bridge {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// The value of the first line that starts with `key`, after `separator` and blanks; empty if there is none.
std::string value_in(const fs::path& path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t end = line.find(separator);
    if (end == std::string::npos || !line.starts_with(key)) continue;
    const size_t start = line.find_first_not_of(" \t", end + 1);
    return start == std::string::npos ? "" : line.substr(start);
  }
  return "";
}

std::optional<uint64_t> number_from(const std::string& text) {
  std::istringstream stream(text);
  uint64_t number = 0;
  if (stream >> number) return number;
  return std::nullopt;
}

std::string content_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

uint64_t kibibytes(const char* key) { return number_from(value_in("/proc/meminfo", key, ':')).value_or(0) * 1024; }

uint32_t cores_allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // A mask of more CPUs than cpu_set_t holds makes this fail; one is then what is known for sure.
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return static_cast<uint32_t>(CPU_COUNT(&set));
}

struct GroupLimits {
  uint64_t memory_bytes = kNoLimit;
  uint64_t available_bytes = kNoLimit;
  uint64_t cores = kNoLimit;
};

// The limits of one control group (v2, Documentation/admin-guide/cgroup-v2.rst). Its page cache counts as available.
void tighten(GroupLimits& limits, const fs::path& group) {
  if (const auto most = number_from(content_of(group / "memory.max"))) {
    const uint64_t used = number_from(content_of(group / "memory.current")).value_or(0);
    const uint64_t cache = number_from(value_in(group / "memory.stat", "inactive_file ", ' ')).value_or(0);
    const uint64_t held = used - std::min(used, cache);
    limits.memory_bytes = std::min(limits.memory_bytes, *most);
    limits.available_bytes = std::min(limits.available_bytes, *most - std::min(*most, held));
  }
  std::istringstream cpu(content_of(group / "cpu.max"));
  double quota = 0;
  double period = 0;
  if (cpu >> quota >> period && quota > 0 && period > 0) {
    const auto cores = static_cast<uint64_t>((quota + period - 1) / period);
    limits.cores = std::min(limits.cores, std::max<uint64_t>(cores, 1));
  }
}

// Of this process's control group and all above it.
GroupLimits group_limits() {
  GroupLimits limits;
  const std::string path = value_in("/proc/self/cgroup", "0::", '/');
  const fs::path root = "/sys/fs/cgroup";
  for (fs::path group = root / path;; group = group.parent_path()) {
    tighten(limits, group);
    if (group == root || !group.has_relative_path()) return limits;
  }
}

}  // namespace

Machine look_at_machine() {
  const GroupLimits limits = group_limits();
  struct statvfs shared {};
  if (statvfs("/dev/shm", &shared) != 0) shared = {};
  return {
      .cpu = value_in("/proc/cpuinfo", "model name", ':'),
      .cores = static_cast<uint32_t>(std::min<uint64_t>(cores_allowed(), limits.cores)),
      .memory_bytes = std::min(kibibytes("MemTotal:"), limits.memory_bytes),
      .available_memory_bytes = std::min(kibibytes("MemAvailable:"), limits.available_bytes),
      .shared_memory_bytes = shared.f_blocks * shared.f_frsize,
      .available_shared_memory_bytes = shared.f_bavail * shared.f_frsize,
  };
}

}  // namespace thermocline::bridge
