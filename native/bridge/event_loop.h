// The addon's threads, and their way back to the event loop. One for each Node environment.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <thread>

#include "../error.h"

namespace thermocline::bridge {

// What is marked "any thread" may be called by a thread of start() or run(); everything else belongs to the event
// loop. Threads hold tickets for promises and no JavaScript value at all.
class EventLoop {
 public:
  using Ticket = uint64_t;
  using MakeValue = std::function<Napi::Value(Napi::Env)>;
  using Work = std::function<MakeValue(Ticket)>;
  using Stop = std::function<void()>;

  static void install(Napi::Env env);
  static const std::shared_ptr<EventLoop>& of(Napi::Env env);

  explicit EventLoop(Napi::Env env);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // A promise for a thread to settle; the process stays alive until it is. `callback` is what notify() calls; it may
  // be empty.
  struct Pending {
    Ticket ticket;
    Napi::Promise promise;
  };
  Pending promise(Napi::Function callback = {});

  // Any thread: settles the promise, on the event loop, with what `make` returns or throws there.
  void resolve(Ticket ticket, MakeValue make);
  // Any thread.
  void reject(Ticket ticket, Error error);
  // Any thread: calls the promise's callback, unless it is settled by then.
  void notify(Ticket ticket, std::function<void(Napi::Env, const Napi::Function&)> call);

  // Runs `body`, which throws nothing, on a thread of its own. `stop` makes it end soon; it is called when the
  // environment is torn down, which waits for the thread. Throws when no thread can be had.
  void start(std::function<void()> body, Stop stop);
  // A promise of what `work` returns or throws on a thread of its own, as start() and promise() have it.
  Napi::Promise run(Work work, Stop stop, Napi::Function callback = {});

 private:
  struct Operation {
    Napi::Promise::Deferred deferred;
    Napi::FunctionReference callback;
  };
  struct Thread {
    std::function<void()> body;  // destroyed by the event loop, after the thread
    Stop stop;
    std::thread thread;
  };
  using Post = std::function<void(Napi::Env)>;

  Napi::Promise promise_for(Ticket ticket, Napi::Function callback);
  void post(Post work);
  void settle(Ticket ticket, const std::function<void(const Napi::Promise::Deferred&)>& how);
  void shut_down();
  static void dispatch(napi_env env, napi_value callback, void* loop, void* work);

  napi_env env_;
  napi_threadsafe_function queue_ = nullptr;
  Ticket last_ticket_ = 0;
  std::map<Ticket, Operation> operations_;
  std::list<Thread> threads_;
};

}  // namespace thermocline::bridge
