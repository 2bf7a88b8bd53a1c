#include "engine_session.h"

#include <exception>
#include <string>
#include <utility>

#include "step_failure.h"

namespace thermocline::bridge {
namespace {

Napi::Value to_outcome(Napi::Env env, const std::optional<StepFailure>& failure) {
  Napi::Object outcome = Napi::Object::New(env);
  outcome.Set("kind", failure ? "failed" : "closed");
  if (failure) outcome.Set("failure", to_js(env, *failure));
  return outcome;
}

}  // namespace

void EngineSession::check_open() const {
  if (closed_) throw Error(ErrorCode::closed, "the engine was closed before", kName);
}

const Device& EngineSession::device() const {
  check_open();
  return *device_;
}

uint64_t EngineSession::steps() const {
  check_open();
  return steps_;
}

Napi::Promise EngineSession::serve(std::shared_ptr<Arena> arena) {
  check_open();
  if (served_) throw Error(ErrorCode::invalid_argument, "the engine serves an arena already: stop it first", kName);
  stop_ = false;
  const auto self = shared_from_this();
  const Napi::Promise outcome = loop_->run(
      [self, arena](EventLoop::Ticket) -> EventLoop::MakeValue {
        std::optional<StepFailure> failure;
        std::exception_ptr thrown;
        try {
          failure = thermocline::serve(*self->device_, *arena, self->executor_, self->stop_, self->steps_);
        } catch (...) {
          thrown = std::current_exception();
        }
        return [self, failure = std::move(failure), thrown](Napi::Env env) {
          self->serving_ended();
          if (thrown) std::rethrow_exception(thrown);
          return to_outcome(env, failure);
        };
      },
      [self, arena] {
        self->stop_ = true;
        arena->fail({static_cast<int32_t>(self->executor_), ErrorCode::aborted,
                     "executor " + std::to_string(self->executor_) + " ended while it served"});
      });
  served_ = std::move(arena);
  return outcome;
}

void EngineSession::stop() {
  check_open();
  stop_ = true;  // serve() looks at it between the slices of its waits
}

void EngineSession::serving_ended() {
  served_.reset();
  free_if_unused();
}

Napi::Promise EngineSession::stage(Exchange exchange, std::shared_ptr<CancelToken> cancel) {
  check_open();
  if (staging_) {
    throw Error(ErrorCode::invalid_argument, "the engine stages an exchange already: wait for its end", kName);
  }
  const auto self = shared_from_this();
  const Napi::Promise staged = loop_->run(
      [self, exchange = std::move(exchange), cancel](EventLoop::Ticket) -> EventLoop::MakeValue {
        uint64_t bytes = 0;
        std::exception_ptr thrown;
        try {
          bytes = self->device_->stage(exchange, cancel->flag);
        } catch (...) {
          thrown = std::current_exception();
        }
        return [self, bytes, thrown](Napi::Env env) {
          self->staging_ended();
          if (thrown) std::rethrow_exception(thrown);
          return Napi::Number::New(env, static_cast<double>(bytes));
        };
      },
      [cancel] { cancel->flag = true; });
  staging_ = std::move(cancel);
  return staged;
}

void EngineSession::staging_ended() {
  staging_.reset();
  free_if_unused();
}

void EngineSession::free_if_unused() {
  if (closing_ && !served_ && !staging_) free_device(*closing_);
}

Napi::Promise EngineSession::close() {
  stop();
  closed_ = true;
  if (staging_) staging_->flag = true;
  const auto [ticket, promise] = loop_->promise();
  closing_ = ticket;
  free_if_unused();
  return promise;
}

void EngineSession::free_device(EventLoop::Ticket closing) {
  const auto undefined = [](Napi::Env env) { return env.Undefined(); };
  const auto self = shared_from_this();
  const auto free = [self, closing, undefined] {
    self->device_.reset();
    self->loop_->resolve(closing, undefined);
  };
  try {
    loop_->start(free, [] {});
  } catch (...) {
    free();  // no thread to be had: here, then
  }
}

}  // namespace thermocline::bridge
