#include "../engine/cpu/thread_pool.h"

#include <sched.h>

#include <chrono>

#include "../error.h"
#include "check.h"

namespace thermocline {
namespace {

TEST(every_index_is_visited_once) {
  for (const uint32_t threads : {1u, 2u, 3u, 5u}) {
    ThreadPool pool(threads, {});
    CHECK_EQ(pool.threads(), threads);
    for (size_t count = 0; count < 40; ++count) {
      std::vector<int> visits(count);
      pool.parallel_for(count, [&](size_t begin, size_t end, uint32_t thread) {
        CHECK(thread < threads);
        for (size_t i = begin; i < end; ++i) ++visits[i];
      });
      CHECK(visits == std::vector<int>(count, 1));
    }
  }
}

TEST(chunks_are_no_longer_than_asked_for) {
  ThreadPool pool(3, {});
  for (const size_t grain : {1u, 7u, 40u}) {
    std::vector<int> visits(40);
    pool.parallel_chunks(visits.size(), grain, [&](size_t begin, size_t end, uint32_t) {
      CHECK(begin % grain == 0 && end - begin <= grain);
      for (size_t i = begin; i < end; ++i) ++visits[i];
    });
    CHECK(visits == std::vector<int>(40, 1));
  }
}

// The others do the work of one that is kept from its core.
TEST(a_thread_that_took_nothing_is_not_waited_for) {
  ThreadPool pool(2, {});
  std::atomic<bool> held{true};
  std::atomic<int> done{0};
  pool.parallel_chunks(100, 1, [&](size_t, size_t, uint32_t thread) {
    // The worker keeps its first chunk until all others are done.
    if (thread != 0) {
      while (held) std::this_thread::yield();
    } else if (++done == 99) {
      held = false;
    }
    if (thread == 0 && done == 100) held = false;
  });
  CHECK(done.load() >= 99);
}

// Workers park between these phases, and must be found again.
TEST(phases_after_a_pause) {
  ThreadPool pool(3, {});
  for (int phase = 0; phase < 20; ++phase) {
    std::atomic<int> sum{0};
    pool.parallel_for(300, [&](size_t begin, size_t end, uint32_t) { sum += static_cast<int>(end - begin); });
    CHECK_EQ(sum.load(), 300);
    std::this_thread::sleep_for(std::chrono::microseconds(300));
  }
}

// The caller parks when it has long finished its own part.
TEST(a_slow_worker_is_waited_for) {
  ThreadPool pool(2, {});
  std::atomic<bool> done{false};
  pool.parallel_for(2, [&](size_t begin, size_t, uint32_t) {
    if (begin == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    done = true;
  });
  CHECK(done.load());
}

TEST(many_phases_in_a_row) {
  ThreadPool pool(4, {});
  std::vector<uint64_t> sums(4 * 8);
  for (uint64_t phase = 0; phase < 2000; ++phase) {
    pool.parallel_for(4, [&](size_t begin, size_t end, uint32_t) {
      for (size_t i = begin; i < end; ++i) sums[i * 8] += phase;
    });
  }
  for (size_t i = 0; i < 4; ++i) CHECK_EQ(sums[i * 8], uint64_t{2000 * 1999 / 2});
}

TEST(threads_are_pinned) {
  cpu_set_t allowed;
  CHECK_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int cpu = 0;
  while (!CPU_ISSET(static_cast<size_t>(cpu), &allowed)) ++cpu;
  ThreadPool pool(2, {cpu, cpu});
  std::thread caller([&] {
    pool.pin_caller();
    pool.parallel_for(2, [&](size_t, size_t, uint32_t) { CHECK_EQ(sched_getcpu(), cpu); });
  });
  caller.join();
}

TEST(a_cpu_that_is_not_there_is_named) {
  try {
    ThreadPool pool(2, {0, 100000});
    CHECK(false);
  } catch (const Error& error) {
    CHECK_EQ(name_of(error.code()), std::string("invalid-argument"));
    CHECK_EQ(error.argument(), "options.pinTo[1]");
  }
}

}  // namespace
}  // namespace thermocline
