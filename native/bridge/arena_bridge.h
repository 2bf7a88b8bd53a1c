#pragma once

#include <memory>

#include "../arena/arena.h"
#include "argument.h"
#include "step_waiter.h"

namespace thermocline::bridge {

// What a handle of an arena stands for; event loop only.
struct ArenaHandle {
  static constexpr napi_type_tag kTag{0x6f1c0b6e7d5a4f3b, 0x9a2c4e8d17b35f60};
  static constexpr const char* kName = "arena";

  std::shared_ptr<Arena> arena;  // null once closed; an engine that serves it keeps it mapped
  std::shared_ptr<StepWaiter> waiter;
  bool creator;

  ~ArenaHandle() {
    if (waiter) waiter->finish();
  }
};

// The arena behind a handle. Throws `invalid-argument` if it is no such handle, `closed` if it was closed.
std::shared_ptr<Arena> open_arena(const Napi::Value& handle);

void export_arena(Napi::Env env, Napi::Object exports);

}  // namespace thermocline::bridge
