// Timestamps of what an executor did, one writer (the executor) and one reader (the coordinator).
#pragma once

#include <atomic>
#include <cstdint>

namespace thermocline {

// The same order as PHASES in native/index.ts.
enum class Phase : uint32_t { embed, attention, predict, hot, cold, wait, merge, head, exchange };

struct Timing {
  uint64_t step;
  int64_t start_ns;  // CLOCK_MONOTONIC
  int64_t end_ns;
  uint64_t bytes;    // weight bytes read, or by an exchange copied
  uint32_t executor;
  int32_t layer;     // -1 outside the layers
  Phase phase;
  uint32_t rows;
  uint32_t active;   // (row, neuron) pairs that fired
  uint32_t placed;   // neurons this executor holds in this layer
};
static_assert(sizeof(Timing) == 56);

// A view of one executor's ring in shared memory. The writer never waits: beyond capacity - 1 unread records the
// oldest are overwritten, and the reader counts them as lost.
class TimingRing {
 public:
  struct Header {
    alignas(64) std::atomic<uint64_t> written;
    alignas(64) std::atomic<uint64_t> read;
  };
  // A record crosses as words, because the writer may overwrite what the reader is copying.
  struct Slot {
    std::atomic<uint64_t> words[sizeof(Timing) / sizeof(uint64_t)];
  };
  TimingRing(Header* header, Slot* slots, uint32_t capacity)  // capacity: a power of two
      : header_(header), slots_(slots), capacity_(capacity) {}

  void write(const Timing& timing);
  // Copies up to `most` unread records, oldest first; adds records lost to `lost`.
  uint32_t read(Timing* out, uint32_t most, uint64_t& lost);

 private:
  Header* header_;
  Slot* slots_;
  uint32_t capacity_;
};

}  // namespace thermocline
