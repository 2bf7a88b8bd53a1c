// Timeline semaphore: a 64-bit counter in shared memory that only grows.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

namespace thermocline {

enum class WaitResult { reached, aborted, timed_out };

// When a wait gives up. A wait ends early as soon as `*abort` is not 0.
struct WaitLimits {
  int64_t deadline_ns;                   // CLOCK_MONOTONIC
  int64_t spin_ns;                       // spins at most this long before it parks
  const std::atomic<uint32_t>* abort;
};

// Lives in shared memory on a cache line of its own. The counter's low word is a futex (not private), so that
// signal() and wait() work across processes. Parking waiters are counted: signal() enters the kernel only for them.
class alignas(64) Semaphore {
 public:
  uint64_t value() const { return value_.load(std::memory_order_acquire); }

  // Raises the counter to `value` (a lower one changes nothing) and wakes whoever waits. Everything written before is
  // visible to them.
  void signal(uint64_t value);

  // Wakes every waiter without raising the counter, so that it looks at its abort flag.
  void wake();

  // Returns once the counter is at least `value`, be it aborted or late by then. Parks in slices, so a lost wake costs
  // a slice and no more.
  WaitResult wait(uint64_t value, const WaitLimits& limits);

 private:
  // Nothing when the spin budget was spent in vain.
  std::optional<WaitResult> spin(uint64_t value, const WaitLimits& limits) const;
  WaitResult park(uint64_t value, const WaitLimits& limits);

  std::atomic<uint64_t> value_{0};
  std::atomic<uint32_t> waiters_{0};
};
static_assert(sizeof(Semaphore) == 64);

// CLOCK_MONOTONIC in nanoseconds.
int64_t monotonic_ns();

}  // namespace thermocline
