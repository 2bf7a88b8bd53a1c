#include "step_watch.h"

#include <sys/prctl.h>
#include <time.h>

#include <algorithm>

#include "../spin.h"

namespace thermocline::cuda {
namespace {

void sleep_ns(long ns) {
  const timespec time{0, ns};
  ::nanosleep(&time, nullptr);
}

}  // namespace

// Layers signal by the same semaphore.
void StepWatch::add(std::vector<Watched>& list, Semaphore& semaphore) {
  const auto is_it = [&](const Watched& watched) { return watched.semaphore == &semaphore; };
  if (std::none_of(list.begin(), list.end(), is_it)) list.push_back({&semaphore});
}

void StepWatch::begin() {
  for (auto* list : {&raised_, &awaited_}) {
    for (Watched& watched : *list) watched.seen = watched.semaphore->value();
  }
}

WaitResult StepWatch::wait(const std::function<bool()>& is_done, int64_t patience_ns,
                           const std::atomic<uint32_t>& abort) {
  // A sleep of this thread, which others' wakes wait for, is not to be drawn out for the sake of few interrupts.
  ::prctl(PR_SET_TIMERSLACK, 1'000UL, 0UL, 0UL, 0UL);
  const int64_t start_ns = monotonic_ns();
  int64_t moved_ns = start_ns;
  for (;;) {
    const bool done = is_done();
    const int64_t now_ns = monotonic_ns();
    const auto has_moved = [&](Watched& watched) {
      const uint64_t value = watched.semaphore->value();
      if (value == watched.seen) return false;
      watched.seen = value;
      moved_ns = now_ns;
      return true;
    };
    for (Watched& watched : raised_) {
      if (has_moved(watched)) watched.semaphore->wake();
    }
    for (Watched& watched : awaited_) has_moved(watched);
    if (done) return WaitResult::reached;
    if (abort.load(std::memory_order_acquire) != 0) return WaitResult::aborted;
    if (now_ns - moved_ns > patience_ns) return WaitResult::timed_out;
    if (now_ns - start_ns > kSpinNs) sleep_ns(20'000);
  }
}

void StepWatch::let_through() const {
  for (const Watched& watched : awaited_) watched.semaphore->signal(UINT64_MAX >> 1);
}

}  // namespace thermocline::cuda
