// Waits for the ends of steps on one thread of its own, so that neither the event loop nor its thread pool does.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "../arena/arena.h"
#include "event_loop.h"

namespace thermocline::bridge {

class StepWaiter : public std::enable_shared_from_this<StepWaiter> {
 public:
  StepWaiter(std::shared_ptr<EventLoop> loop, std::shared_ptr<Arena> arena)
      : loop_(std::move(loop)), arena_(std::move(arena)) {}

  // A promise of the step's failure, or of null when it completed. Beyond `timeout_ns` the arena is aborted.
  Napi::Promise wait(uint64_t step, int64_t timeout_ns);
  // Ends the thread: waits under way are rejected as `closed`.
  void close();
  // Ends the thread once no wait is under way.
  void finish();

 private:
  struct Wait {
    EventLoop::Ticket ticket;
    uint64_t step;
    int64_t start_ns;
    int64_t timeout_ns;
  };
  enum class State { idle, running, finishing, closed };

  void run();
  std::optional<Wait> next();
  void serve(const Wait& wait);
  bool closed();

  const std::shared_ptr<EventLoop> loop_;
  const std::shared_ptr<Arena> arena_;
  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::idle;
  std::deque<Wait> waits_;
};

}  // namespace thermocline::bridge
