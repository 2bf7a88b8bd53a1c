#include "semaphore.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>

namespace thermocline {
namespace {

static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<uint32_t>::is_always_lock_free,
              "a lock inside one process would not hold others off");
static_assert(sizeof(std::atomic<uint64_t>) == sizeof(uint64_t));
static_assert(std::endian::native == std::endian::little, "the futex is the counter's first four bytes");

constexpr int64_t kNsPerSecond = 1'000'000'000;

// Bounds what a wake costs that was lost, because its sender was killed half way or because it fell between a
// waiter's last look at the abort flag and its parking. 50 looks a second burn nothing measurable.
constexpr int64_t kParkSliceNs = 20'000'000;

// Reading the clock costs about as much as 16 pauses on a CPU whose pause is short.
constexpr int kPausesPerClockRead = 16;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint32_t* futex_word(std::atomic<uint64_t>& counter) { return reinterpret_cast<uint32_t*>(&counter); }

// Returns at a wake, when the word is not `expected`, after `timeout_ns`, or for no reason.
void futex_wait(uint32_t* word, uint32_t expected, int64_t timeout_ns) {
  const timespec timeout{timeout_ns / kNsPerSecond, timeout_ns % kNsPerSecond};
  syscall(SYS_futex, word, FUTEX_WAIT, expected, &timeout, nullptr, 0);
}

void futex_wake_all(uint32_t* word) { syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

int64_t monotonic_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

// Sequentially consistent, like what a waiter does in park(): either the waiter's look at the counter sees the new
// value, or this look at waiters_ sees the waiter.
void Semaphore::signal(uint64_t value) {
  uint64_t current = value_.load(std::memory_order_relaxed);
  while (current < value && !value_.compare_exchange_weak(current, value, std::memory_order_seq_cst)) {
  }
  if (waiters_.load(std::memory_order_seq_cst) != 0) wake();
}

void Semaphore::wake() { futex_wake_all(futex_word(value_)); }

WaitResult Semaphore::wait(uint64_t value, const WaitLimits& limits) {
  if (this->value() >= value) return WaitResult::reached;
  if (const auto result = spin(value, limits)) return *result;
  // A waiter killed while it is parked stays counted, which costs later signals a system call each and no more.
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  const WaitResult result = park(value, limits);
  waiters_.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

std::optional<WaitResult> Semaphore::spin(uint64_t value, const WaitLimits& limits) const {
  if (limits.spin_ns <= 0) return std::nullopt;
  const int64_t end_ns = std::min(limits.deadline_ns, monotonic_ns() + limits.spin_ns);
  do {
    for (int i = 0; i < kPausesPerClockRead; ++i) {
      if (this->value() >= value) return WaitResult::reached;
      if (limits.abort->load(std::memory_order_acquire) != 0) return WaitResult::aborted;
      pause();
    }
  } while (monotonic_ns() < end_ns);
  return std::nullopt;
}

WaitResult Semaphore::park(uint64_t value, const WaitLimits& limits) {
  for (;;) {
    const uint64_t current = value_.load(std::memory_order_seq_cst);
    if (current >= value) return WaitResult::reached;
    if (limits.abort->load(std::memory_order_acquire) != 0) return WaitResult::aborted;
    const int64_t left_ns = limits.deadline_ns - monotonic_ns();
    if (left_ns <= 0) return WaitResult::timed_out;
    // The kernel compares the word once more under its own lock, so that a signal since the load is not slept over.
    futex_wait(futex_word(value_), static_cast<uint32_t>(current), std::min(left_ns, kParkSliceNs));
  }
}

}  // namespace thermocline
