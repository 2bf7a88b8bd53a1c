#include "bandwidth.h"

#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <cstring>
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

// Of 16 bytes, which every x86-64 loads at once. Said here, because the compiler finds it in plain sums only at the price
// of shuffles that cost as much as the reads.
using Lanes = uint64_t __attribute__((vector_size(16), may_alias));

// A core's prefetcher follows several streams at once and keeps more reads under way for them than for one: four read a
// third more a second than one does here, eight no more than four. Each has sums of its own, so that additions wait for
// memory and not for each other.
constexpr size_t kStreams = 4;
constexpr size_t kSums = 2;
// So many words must every thread's share be a multiple of for each of them to be read.
constexpr size_t kUnit = kStreams * kSums * sizeof(Lanes) / sizeof(uint64_t);

uint64_t read(std::span<const uint64_t> words) {
  const auto* lanes = reinterpret_cast<const Lanes*>(words.data());
  const size_t length = words.size() / kUnit * kSums;
  Lanes sums[kStreams][kSums] = {};
  for (size_t i = 0; i < length; i += kSums) {
    for (size_t stream = 0; stream < kStreams; ++stream) {
      for (size_t s = 0; s < kSums; ++s) sums[stream][s] += lanes[stream * length + i + s];
    }
  }
  Lanes sum = {};
  for (const auto& stream : sums) {
    for (const Lanes& part : stream) sum += part;
  }
  return sum[0] + sum[1];
}

}  // namespace

double measure_bandwidth(uint32_t threads, uint64_t bytes, double seconds, const std::atomic<bool>& stop) {
  const Buffer buffer(bytes);
  const size_t slice = buffer.words().size() / threads / kUnit * kUnit;
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
