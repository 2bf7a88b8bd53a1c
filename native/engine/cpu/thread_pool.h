// A fixed set of threads that computes one phase at a time.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace thermocline {

class ThreadPool {
 public:
  // `threads` counts the thread that calls parallel_for(), so one fewer is started. `pin_to` names a CPU for each, the
  // caller's first, or is empty. Throws Error `invalid_argument` for a CPU this process may not use.
  ThreadPool(uint32_t threads, std::vector<int> pin_to);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return threads_; }

  // Pins the calling thread to the first CPU of `pin_to`, if there is one.
  void pin_caller() const;

  // Calls work(begin, end, thread) once for each thread with a part of [0, count) and returns when all are done. The
  // partition follows from `count` and threads() alone, so the same thread meets the same weights again in its cache.
  // `work` must not throw. One caller at a time.
  template <class Work>
  void parallel_for(size_t count, const Work& work) {
    if (threads_ == 1 || count <= 1) {
      if (count > 0) work(size_t{0}, count, uint32_t{0});
      return;
    }
    const auto call = [](const void* context, size_t begin, size_t end, uint32_t thread) noexcept {
      (*static_cast<const Work*>(context))(begin, end, thread);
    };
    run({call, &work, count});
  }

 private:
  struct Job {
    void (*call)(const void* context, size_t begin, size_t end, uint32_t thread) noexcept;
    const void* context;
    size_t count;
  };

  void run(const Job& job);
  void run_part(uint32_t thread) const;
  void work(uint32_t thread);
  void stop();

  uint32_t threads_;
  std::vector<int> pin_to_;
  Job job_{};
  bool stopping_ = false;
  // Workers watch the generation; whoever changes it first writes job_ or stopping_.
  alignas(64) std::atomic<int> generation_{0};
  alignas(64) std::atomic<int> unfinished_{0};
  std::vector<std::thread> workers_;
};

}  // namespace thermocline
