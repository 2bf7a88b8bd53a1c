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

TEST(the_partition_does_not_change) {
  ThreadPool pool(3, {});
  std::vector<uint32_t> first(100), second(100);
  for (auto* owners : {&first, &second}) {
    pool.parallel_for(100, [&](size_t begin, size_t end, uint32_t thread) {
      for (size_t i = begin; i < end; ++i) (*owners)[i] = thread;
    });
  }
  CHECK(first == second);
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
