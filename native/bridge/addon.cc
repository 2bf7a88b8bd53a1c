// The addon's exports: `interface Addon` of native/index.ts, one for one.
#include <napi.h>

#include "arena_bridge.h"
#include "engine_bridge.h"
#include "event_loop.h"
#include "formats_bridge.h"
#include "machine_bridge.h"
#include "observation_bridge.h"
#include "train_bridge.h"

namespace thermocline::bridge {
namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  EventLoop::install(env);
  export_machine(env, exports);
  export_arena(env, exports);
  export_observation(env, exports);
  export_engine(env, exports);
  export_formats(env, exports);
  export_training(env, exports);
  return exports;
}

NODE_API_MODULE(thermocline, initialize)

}  // namespace
}  // namespace thermocline::bridge
