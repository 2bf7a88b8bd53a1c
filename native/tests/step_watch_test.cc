// Who watches a card's step: signals that wake nobody by themselves, and when it gives up.
#include "../engine/cuda/step_watch.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "check.h"

namespace thermocline {
namespace {

using cuda::StepWatch;

constexpr int64_t kLongNs = 60'000'000'000;

// As a card does it: the counter, with which a semaphore begins, and no more.
void write(Semaphore& semaphore, uint64_t value) {
  reinterpret_cast<std::atomic<uint64_t>&>(semaphore).store(value, std::memory_order_release);
}

struct Arena {
  Semaphore raised, awaited;
  std::atomic<uint32_t> abort{0};
};

// Sleeps as who waits for a semaphore does, but looks again only when it is woken.
void sleep_until(Semaphore& semaphore, uint64_t value) {
  for (;;) {
    const uint64_t current = semaphore.value();
    if (current >= value) return;
    const timespec timeout{2 * kLongNs / 1'000'000'000, 0};
    ::syscall(SYS_futex, &semaphore, FUTEX_WAIT, static_cast<uint32_t>(current), &timeout, nullptr, 0);
  }
}

TEST(who_sleeps_is_woken_by_each_signal) {
  Arena arena;
  StepWatch watch;
  for (int layer = 0; layer < 3; ++layer) watch.add_raised(arena.raised);
  watch.begin();
  std::atomic<uint64_t> reached{0};
  std::thread peer([&] {
    for (uint64_t value = 1; value <= 3; ++value) {
      sleep_until(arena.raised, value);
      reached = value;
    }
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // mostly it sleeps by then
  write(arena.raised, 1);                                      // before anybody looks
  uint64_t written = 1;
  const auto is_done = [&] {
    if (reached.load() == written && written < 3) write(arena.raised, ++written);
    return reached.load() == 3;
  };
  CHECK(watch.wait(is_done, kLongNs, arena.abort) == WaitResult::reached);
  peer.join();
}

TEST(an_abort_ends_it_and_lets_the_card_through) {
  Arena arena;
  StepWatch watch;
  watch.add_awaited(arena.awaited);
  watch.begin();
  arena.abort = 1;
  CHECK(watch.wait([] { return false; }, kLongNs, arena.abort) == WaitResult::aborted);
  CHECK_EQ(arena.awaited.value(), 0u);
  watch.let_through();
  CHECK_EQ(arena.awaited.value(), UINT64_MAX >> 1);
  const std::atomic<uint32_t> never{0};
  CHECK(watch.wait([&] { return arena.awaited.value() > 0; }, kLongNs, never) == WaitResult::reached);
}

// However long a step takes, it is given time while anything moves.
TEST(patience_begins_anew_with_every_signal) {
  constexpr int64_t kPatienceNs = 30'000'000;
  for (const bool by_card : {true, false}) {
    Arena arena;
    StepWatch watch;
    watch.add_raised(arena.raised);
    watch.add_awaited(arena.awaited);
    watch.begin();
    const int64_t start_ns = monotonic_ns();
    uint64_t moves = 0;
    const auto moves_on = [&] {
      const auto due = static_cast<uint64_t>((monotonic_ns() - start_ns) / (kPatienceNs / 10));
      if (due > moves) write(by_card ? arena.raised : arena.awaited, moves = due);
      return due >= 30;  // three times its patience
    };
    CHECK(watch.wait(moves_on, kPatienceNs, arena.abort) == WaitResult::reached);
    CHECK(watch.wait([] { return false; }, kPatienceNs, arena.abort) == WaitResult::timed_out);
  }
}

}  // namespace
}  // namespace thermocline
