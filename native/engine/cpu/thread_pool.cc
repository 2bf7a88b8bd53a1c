#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <string>
#include <system_error>

#include "../../arena/semaphore.h"
#include "../../error.h"
#include "../spin.h"

namespace thermocline {
namespace {

void check_allowed(const std::vector<int>& cpus) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(::getpid(), sizeof allowed, &allowed) != 0) {
    throw Error(ErrorCode::system, "cannot read which CPUs this process may use");
  }
  for (size_t i = 0; i < cpus.size(); ++i) {
    if (cpus[i] >= 0 && cpus[i] < CPU_SETSIZE && CPU_ISSET(static_cast<size_t>(cpus[i]), &allowed)) continue;
    throw Error(ErrorCode::invalid_argument, "CPU " + std::to_string(cpus[i]) + " is not one this process may use",
                "options.pinTo[" + std::to_string(i) + "]");
  }
}

void pin(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  if (::pthread_setaffinity_np(thread, sizeof set, &set) != 0) {
    throw Error(ErrorCode::system, "cannot pin a thread to CPU " + std::to_string(cpu), "options.pinTo");
  }
}

// Returns the value once it is not `old`: spins for a while, then parks.
int await_change(const std::atomic<int>& value, int old) {
  // A look at the clock costs about as much as this many pauses.
  constexpr int kPausesPerLook = 64;
  const int64_t parks_at = monotonic_ns() + kSpinNs;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      const int now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      spin_pause();
    }
  } while (monotonic_ns() < parks_at);
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(uint32_t threads, std::vector<int> pin_to) : threads_(threads), pin_to_(std::move(pin_to)) {
  check_allowed(pin_to_);
  try {
    for (uint32_t t = 1; t < threads_; ++t) {
      workers_.emplace_back([this, t] { work(t); });
      if (!pin_to_.empty()) pin(workers_.back().native_handle(), pin_to_[t]);
    }
  } catch (const std::system_error&) {
    stop();
    throw Error(ErrorCode::out_of_memory,
                "the system refused to start " + std::to_string(threads_) + " threads: use fewer", "options.threads");
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::pin_caller() const {
  if (!pin_to_.empty()) pin(::pthread_self(), pin_to_[0]);
}

void ThreadPool::run(const Job& job, uint32_t chunks) {
  job_ = job;
  unfinished_.store(static_cast<int>(chunks), std::memory_order_relaxed);
  chunks_.store(uint64_t{chunks} << kChunkBits, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  take_chunks(0);
  for (int left = unfinished_.load(std::memory_order_acquire); left != 0;) left = await_change(unfinished_, left);
}

void ThreadPool::take_chunks(uint32_t thread) {
  constexpr uint64_t kMask = (uint64_t{1} << kChunkBits) - 1;
  for (;;) {
    const uint64_t taken = chunks_.fetch_add(1, std::memory_order_acq_rel);
    const size_t chunk = taken & kMask;
    if (chunk >= taken >> kChunkBits) return;
    const size_t begin = chunk * job_.grain;
    job_.call(job_.context, begin, std::min(job_.count, begin + job_.grain), thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1 && thread != 0) unfinished_.notify_one();
  }
}

void ThreadPool::work(uint32_t thread) {
  for (int seen = 0;;) {
    seen = await_change(generation_, seen);
    if (stopping_.load(std::memory_order_relaxed)) return;
    take_chunks(thread);
  }
}

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

}  // namespace thermocline
