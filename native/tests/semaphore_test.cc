#include "../arena/semaphore.h"

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <vector>

#include "beside.h"

namespace thermocline {
namespace {

using test::Beside;
using test::Shared;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kLong = 60'000 * kMs;  // outlasts the test's own time limit only when something is broken

struct Pair {
  Semaphore ping;
  Semaphore pong;
  std::atomic<uint32_t> abort{0};

  WaitLimits limits(int64_t spin_ns, int64_t within_ns = kLong) const {
    return {monotonic_ns() + within_ns, spin_ns, &abort};
  }
};

void play(uint64_t rounds, int64_t spin_ns) {
  Shared<Pair> pair;
  Beside partner([&] {
    for (uint64_t i = 1; i <= rounds; ++i) {
      CHECK_EQ(pair->ping.wait(i, pair->limits(spin_ns)), WaitResult::reached);
      pair->pong.signal(i);
    }
  });
  for (uint64_t i = 1; i <= rounds; ++i) {
    pair->ping.signal(i);
    CHECK_EQ(pair->pong.wait(i, pair->limits(spin_ns)), WaitResult::reached);
  }
  partner.join();
  CHECK_EQ(pair->pong.value(), rounds);
}

TEST(ping_pong_parked) { play(5'000, 0); }
TEST(ping_pong_spinning_first) { play(5'000, 20'000); }

TEST(a_value_reached_does_not_wait) {
  Shared<Pair> pair;
  pair->abort = 1;
  pair->ping.signal(5);
  CHECK_EQ(pair->ping.wait(5, pair->limits(0, 0)), WaitResult::reached);
  CHECK_EQ(pair->ping.wait(4, pair->limits(0, 0)), WaitResult::reached);
}

TEST(a_lower_signal_changes_nothing) {
  Shared<Pair> pair;
  pair->ping.signal(5);
  pair->ping.signal(3);
  CHECK_EQ(pair->ping.value(), 5);
}

TEST(values_beyond_the_futex_word) {
  Shared<Pair> pair;
  constexpr uint64_t kFar = uint64_t{1} << 32;
  Beside partner([&] { CHECK_EQ(pair->ping.wait(kFar, pair->limits(0)), WaitResult::reached); });
  pair->ping.signal(kFar - 1);
  pair->ping.signal(kFar);
  partner.join();
}

TEST(deadline) {
  Shared<Pair> pair;
  for (const int64_t spin_ns : {int64_t{0}, kLong}) {
    const WaitLimits limits = pair->limits(spin_ns, 30 * kMs);
    CHECK_EQ(pair->ping.wait(1, limits), WaitResult::timed_out);
    CHECK(monotonic_ns() >= limits.deadline_ns);
  }
}

TEST(one_signal_wakes_all) {
  Shared<Pair> pair;
  std::vector<Beside> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&] { CHECK_EQ(pair->ping.wait(1, pair->limits(0)), WaitResult::reached); });
  }
  pair->ping.signal(1);
  for (Beside& waiter : waiters) waiter.join();
}

TEST(abort_ends_waits) {
  for (const int64_t spin_ns : {int64_t{0}, kLong}) {
    Shared<Pair> pair;
    Beside waiter([&] {
      pair->pong.signal(1);
      CHECK_EQ(pair->ping.wait(1, pair->limits(spin_ns)), WaitResult::aborted);
    });
    CHECK_EQ(pair->pong.wait(1, pair->limits(0)), WaitResult::reached);
    pair->abort = 1;
    pair->ping.wake();
    waiter.join();
  }
}

#if defined(THERMOCLINE_TESTS_CAN_FORK)

TEST(a_killed_signaller_leaves_nothing_stuck) {
  Shared<Pair> pair;
  Beside signaller([&] {
    pair->ping.signal(1);
    pause();
  });
  CHECK_EQ(pair->ping.wait(1, pair->limits(0)), WaitResult::reached);
  signaller.kill();
  CHECK_EQ(pair->ping.wait(2, pair->limits(0, 5 * kMs)), WaitResult::timed_out);
  pair->abort = 1;
  CHECK_EQ(pair->ping.wait(2, pair->limits(0)), WaitResult::aborted);
}

TEST(a_killed_waiter_leaves_nothing_stuck) {
  Shared<Pair> pair;
  Beside waiter([&] {
    pair->pong.signal(1);
    pair->ping.wait(1, pair->limits(0));
  });
  CHECK_EQ(pair->pong.wait(1, pair->limits(0)), WaitResult::reached);
  waiter.kill();
  Beside next([&] { CHECK_EQ(pair->ping.wait(2, pair->limits(0)), WaitResult::reached); });
  pair->ping.signal(1);
  pair->ping.signal(2);
  next.join();
}

// In seccomp's strict mode a futex call ends the process with SIGKILL.
int status_without_futexes(void (*call)(Semaphore&)) {
  Shared<Pair> pair;
  Beside strict([&] {
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    call(pair->ping);
    syscall(SYS_exit, 0);
  });
  return strict.wait_status();
}

TEST(signal_stays_out_of_the_kernel_when_nobody_waits) {
  CHECK_EQ(status_without_futexes([](Semaphore& semaphore) { semaphore.signal(1); }), 0);
  CHECK_EQ(status_without_futexes([](Semaphore& semaphore) { semaphore.wake(); }), SIGKILL);
}

#endif

}  // namespace
}  // namespace thermocline
