#include "step_waiter.h"

#include <algorithm>
#include <string>

#include "step_failure.h"

namespace thermocline::bridge {
namespace {

// How soon a wait under way notices close().
constexpr int64_t kSliceNs = 20'000'000;

constexpr int64_t kNsPerMs = 1'000'000;

}  // namespace

Napi::Promise StepWaiter::wait(uint64_t step, int64_t timeout_ns) {
  const std::lock_guard lock(mutex_);
  if (state_ == State::idle) {
    const auto self = shared_from_this();
    loop_->start([self] { self->run(); }, [self] { self->close(); });
    state_ = State::running;
  }
  const auto [ticket, promise] = loop_->promise();
  waits_.push_back({ticket, step, monotonic_ns(), timeout_ns});
  changed_.notify_one();
  return promise;
}

void StepWaiter::close() {
  const std::lock_guard lock(mutex_);
  state_ = State::closed;
  changed_.notify_one();
}

void StepWaiter::finish() {
  const std::lock_guard lock(mutex_);
  if (state_ != State::closed) state_ = State::finishing;
  changed_.notify_one();
}

bool StepWaiter::closed() {
  const std::lock_guard lock(mutex_);
  return state_ == State::closed;
}

void StepWaiter::run() {
  while (const auto wait = next()) serve(*wait);
}

std::optional<StepWaiter::Wait> StepWaiter::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return state_ != State::running || !waits_.empty(); });
  if (waits_.empty()) return std::nullopt;
  const Wait wait = waits_.front();
  waits_.pop_front();
  return wait;
}

void StepWaiter::serve(const Wait& wait) {
  const int64_t deadline_ns = wait.start_ns + wait.timeout_ns;
  while (!closed()) {
    // Parked at once: a spin would take a core from the executors for the whole of a short step.
    const WaitLimits limits{
        .deadline_ns = std::min(deadline_ns, monotonic_ns() + kSliceNs), .spin_ns = 0, .abort = &arena_->abort_flag()};
    const WaitResult result = arena_->completed().wait(wait.step, limits);
    if (result == WaitResult::timed_out && monotonic_ns() < deadline_ns) continue;
    if (result == WaitResult::reached) {
      return loop_->resolve(wait.ticket, [](Napi::Env env) { return env.Null(); });
    }
    if (result == WaitResult::timed_out) {
      arena_->fail({-1, ErrorCode::timed_out,
                    "step " + std::to_string(wait.step) + " did not complete within " +
                        std::to_string(wait.timeout_ns / kNsPerMs) + " ms"});
    }
    return loop_->resolve(wait.ticket, [failure = arena_->failure().value()](Napi::Env env) -> Napi::Value {
      return to_js(env, failure);
    });
  }
  loop_->reject(wait.ticket, Error(ErrorCode::closed, "the arena was closed during the wait", "arena"));
}

}  // namespace thermocline::bridge
