#include "bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "../arena/semaphore.h"
#include "../error.h"

namespace thermocline::bridge {
namespace {

// Memory in huge pages where the kernel has them, so that page walks don't hide the memory's own speed.
class Buffer {
 public:
  explicit Buffer(uint64_t bytes) : bytes_(bytes) {
    memory_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) {
      throw Error(ErrorCode::out_of_memory, "no " + std::to_string(bytes) + " bytes of memory to read", "bytes");
    }
    madvise(memory_, bytes, MADV_HUGEPAGE);
  }
  ~Buffer() { munmap(memory_, bytes_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::span<uint64_t> words() const { return {static_cast<uint64_t*>(memory_), bytes_ / sizeof(uint64_t)}; }

 private:
  void* memory_;
  uint64_t bytes_;
};

// Four sums, so that the additions wait for memory and not for each other.
uint64_t read(std::span<const uint64_t> words) {
  uint64_t sums[4] = {};
  for (size_t i = 0; i + 4 <= words.size(); i += 4) {
    for (size_t lane = 0; lane < 4; ++lane) sums[lane] += words[i + lane];
  }
  return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace

double measure_bandwidth(uint32_t threads, uint64_t bytes, double seconds, const std::atomic<bool>& stop) {
  const Buffer buffer(bytes);
  const size_t slice = buffer.words().size() / threads;
  const int64_t end_ns = monotonic_ns() + static_cast<int64_t>(seconds * 1e9);

  int64_t pass_start_ns = 0;
  int64_t best_ns = INT64_MAX;
  bool more = true;
  // Runs once all threads have arrived: first when the memory was touched, then after each pass.
  const auto between_passes = [&]() noexcept {
    const int64_t now_ns = monotonic_ns();
    if (pass_start_ns != 0) {
      best_ns = std::min(best_ns, now_ns - pass_start_ns);
      more = now_ns < end_ns && !stop;
    }
    pass_start_ns = monotonic_ns();
  };
  std::barrier pass(threads, between_passes);
  std::atomic<uint64_t> sum{0};  // keeps the reads from being optimized away
  {
    std::vector<std::jthread> readers;
    readers.reserve(threads);
    try {
      for (uint32_t i = 0; i < threads; ++i) {
        readers.emplace_back([&, words = buffer.words().subspan(i * slice, slice)] {
          std::memset(words.data(), 1, words.size_bytes());  // untouched pages would all be the one zero page
          for (pass.arrive_and_wait(); more; pass.arrive_and_wait()) sum += read(words);
        });
      }
    } catch (...) {  // no more threads to be had: let go those that wait for them
      for (size_t i = readers.size(); i < threads; ++i) pass.arrive_and_drop();
      throw;
    }
  }
  const double best_seconds = static_cast<double>(std::max<int64_t>(best_ns, 1)) / 1e9;
  return static_cast<double>(threads * slice * sizeof(uint64_t)) / best_seconds;
}

}  // namespace thermocline::bridge
