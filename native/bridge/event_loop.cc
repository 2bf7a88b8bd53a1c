#include "event_loop.h"

#include <utility>

#include "errors.h"

namespace thermocline::bridge {
namespace {

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

using Installed = std::shared_ptr<EventLoop>;

}  // namespace

void EventLoop::install(Napi::Env env) {
  env.SetInstanceData(new Installed(std::make_shared<EventLoop>(env)));
}

const std::shared_ptr<EventLoop>& EventLoop::of(Napi::Env env) { return *env.GetInstanceData<Installed>(); }

// Clean-up hooks run last in, first out: ours is added after the queue's own, so that no thread is left when the queue
// goes away.
EventLoop::EventLoop(Napi::Env env) : env_(env) {
  const auto name = Napi::String::New(env, "thermocline");
  check(env, napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this,
                                             &EventLoop::dispatch, &queue_));
  check(env, napi_unref_threadsafe_function(env, queue_));
  const auto shut_down = [](void* loop) { static_cast<EventLoop*>(loop)->shut_down(); };
  check(env, napi_add_env_cleanup_hook(env, shut_down, this));
}

EventLoop::Pending EventLoop::promise(Napi::Function callback) {
  const Ticket ticket = ++last_ticket_;
  return {ticket, promise_for(ticket, callback)};
}

Napi::Promise EventLoop::promise_for(Ticket ticket, Napi::Function callback) {
  Operation operation{Napi::Promise::Deferred::New(env_), {}};
  if (!callback.IsEmpty()) operation.callback = Napi::Persistent(callback);
  const Napi::Promise promise = operation.deferred.Promise();
  if (operations_.empty()) check(env_, napi_ref_threadsafe_function(env_, queue_));
  operations_.emplace(ticket, std::move(operation));
  return promise;
}

void EventLoop::resolve(Ticket ticket, MakeValue make) {
  post([this, ticket, make = std::move(make)](Napi::Env env) {
    settle(ticket, [&](const Napi::Promise::Deferred& deferred) {
      try {
        deferred.Resolve(make(env));
      } catch (const Napi::Error& error) {
        deferred.Reject(error.Value());
      } catch (...) {
        deferred.Reject(to_js_error(env, current_error()).Value());
      }
    });
  });
}

void EventLoop::reject(Ticket ticket, Error error) {
  post([this, ticket, error = std::move(error)](Napi::Env env) {
    settle(ticket, [&](const Napi::Promise::Deferred& deferred) { deferred.Reject(to_js_error(env, error).Value()); });
  });
}

void EventLoop::settle(Ticket ticket, const std::function<void(const Napi::Promise::Deferred&)>& how) {
  const auto node = operations_.extract(ticket);
  if (operations_.empty()) napi_unref_threadsafe_function(env_, queue_);
  how(node.mapped().deferred);
}

void EventLoop::notify(Ticket ticket, std::function<void(Napi::Env, const Napi::Function&)> call) {
  post([this, ticket, call = std::move(call)](Napi::Env env) {
    const auto found = operations_.find(ticket);
    if (found != operations_.end()) call(env, found->second.callback.Value());
  });
}

void EventLoop::start(std::function<void()> body, Stop stop) {
  threads_.push_back({std::move(body), std::move(stop), {}});
  const auto entry = std::prev(threads_.end());
  try {
    entry->thread = std::thread([this, entry] {
      entry->body();
      post([this, entry](Napi::Env) {
        entry->thread.join();
        threads_.erase(entry);
      });
    });
  } catch (...) {
    threads_.erase(entry);
    throw;
  }
}

// The promise comes last, so that none is left when no thread can be had; nothing is posted to it before this returns
// to the event loop.
Napi::Promise EventLoop::run(Work work, Stop stop, Napi::Function callback) {
  const Ticket ticket = ++last_ticket_;
  start(
      [this, ticket, work = std::move(work)] {
        try {
          resolve(ticket, work(ticket));
        } catch (...) {
          reject(ticket, current_error());
        }
      },
      std::move(stop));
  return promise_for(ticket, callback);
}

void EventLoop::post(Post work) {
  auto owned = std::make_unique<Post>(std::move(work));
  // The queue has no limit and outlives the threads, so this fails only when memory is gone for good.
  if (napi_call_threadsafe_function(queue_, owned.get(), napi_tsfn_nonblocking) == napi_ok) owned.release();
}

// Without an environment this is the queue being emptied at its end.
void EventLoop::dispatch(napi_env env, napi_value, void*, void* work) {
  const std::unique_ptr<Post> owned(static_cast<Post*>(work));
  if (env == nullptr) return;
  const Napi::HandleScope scope(env);
  try {
    (*owned)(env);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());  // a callback's own exception: uncaught
  }
}

void EventLoop::shut_down() {
  for (Thread& entry : threads_) entry.stop();
  for (Thread& entry : threads_) entry.thread.join();
  threads_.clear();
  operations_.clear();
}

}  // namespace thermocline::bridge
