// A fixed set of threads that computes one phase at a time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace thermocline {

class ThreadPool {
 public:
  // `threads` counts the thread that calls parallel_chunks(), so one fewer is started. `pin_to` names a CPU for each,
  // the caller's first, or is empty. Throws Error `invalid_argument` for a CPU this process may not use.
  ThreadPool(uint32_t threads, std::vector<int> pin_to);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return threads_; }

  // Pins the calling thread to the first CPU of `pin_to`, if there is one.
  void pin_caller() const;

  // Calls work(begin, end, thread) for parts of [0, count) of `grain` each, the last one shorter, and returns when all
  // are done. Threads take the next part when they are done with one, and a thread that something else keeps from its
  // core is not waited for unless it has taken a part. `work` must not throw. One caller at a time.
  template <class Work>
  void parallel_chunks(size_t count, size_t grain, const Work& work) {
    if (count == 0) return;
    if (threads_ == 1 || count <= grain) {
      work(size_t{0}, count, uint32_t{0});
      return;
    }
    // A chunk's number must fit its field.
    grain = std::max(grain, (count + kMostChunks - 1) / kMostChunks);
    const auto call = [](const void* context, size_t begin, size_t end, uint32_t thread) noexcept {
      (*static_cast<const Work*>(context))(begin, end, thread);
    };
    run({call, &work, count, grain}, static_cast<uint32_t>((count + grain - 1) / grain));
  }

  // The same with as many parts as threads.
  template <class Work>
  void parallel_for(size_t count, const Work& work) {
    parallel_chunks(count, std::max<size_t>(1, (count + threads_ - 1) / threads_), work);
  }

 private:
  static constexpr uint32_t kChunkBits = 24;
  static constexpr size_t kMostChunks = (size_t{1} << kChunkBits) - 1;

  struct Job {
    void (*call)(const void* context, size_t begin, size_t end, uint32_t thread) noexcept;
    const void* context;
    size_t count, grain;
  };

  void run(const Job& job, uint32_t chunks);
  void take_chunks(uint32_t thread);
  void work(uint32_t thread);
  void stop();

  uint32_t threads_;
  std::vector<int> pin_to_;
  Job job_{};
  std::atomic<bool> stopping_{false};
  // Workers watch the generation; whoever changes it first writes what they are to do.
  alignas(64) std::atomic<int> generation_{0};
  // Chunks of the job at hand, and in the low bits the next one to take: who adds 1 and finds one left has taken it.
  // While a taken chunk is not done the job cannot change, so who came too late reads nothing that could.
  alignas(64) std::atomic<uint64_t> chunks_{0};
  alignas(64) std::atomic<int> unfinished_{0};
  std::vector<std::thread> workers_;
};

}  // namespace thermocline
