#include "observation_bridge.h"

#include <algorithm>
#include <vector>

#include "../engine/active_set.h"
#include "arena_bridge.h"
#include "errors.h"

namespace thermocline::bridge {
namespace {

// Executors write while a step is at work.
Arena& between_steps(Arena& arena) {
  if (arena.completed().value() < arena.submitted().value()) {
    throw Error(ErrorCode::invalid_argument, "observations are there only once the step has completed");
  }
  return arena;
}

template <class Array, class T>
Array copy(Napi::Env env, const T* from, size_t count) {
  Array array = Array::New(env, count);
  std::copy_n(from, count, reinterpret_cast<T*>(array.Data()));
  return array;
}

Napi::Value take_counts(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Arena> open = open_arena(info[0]);
  Arena& arena = between_steps(*open);
  const size_t neurons = size_t{arena.options().layers} * arena.options().ff;
  uint32_t* counts = arena.fired_counts(0);
  float* strengths = arena.fired_strengths(0);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("counts", copy<Napi::Uint32Array>(info.Env(), counts, neurons));
  result.Set("strengths", copy<Napi::Float32Array>(info.Env(), strengths, neurons));
  std::fill_n(counts, neurons, uint32_t{0});
  std::fill_n(strengths, neurons, 0.0f);
  return result;
}

Napi::Value activations(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Arena> open = open_arena(info[0]);
  Arena& arena = between_steps(*open);
  const uint32_t layer = Argument(info[1], "layer").uint32();
  const float* inputs = arena.predictor_input(layer);
  const size_t rows = arena.step().observed ? arena.step().rows : 0;
  std::vector<uint64_t> fired(rows * active_words(arena.options().ff));
  for (uint32_t executor = 0; executor < arena.options().executors; ++executor) {
    const uint64_t* own = arena.fired_set(executor, layer);
    for (size_t i = 0; i < fired.size(); ++i) fired[i] |= own[i];
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("inputs", copy<Napi::Float32Array>(info.Env(), inputs, rows * arena.options().embd));
  result.Set("fired", copy<Napi::Uint8Array>(info.Env(), reinterpret_cast<const uint8_t*>(fired.data()),
                                         fired.size() * sizeof(uint64_t)));
  return result;
}

}  // namespace

void export_observation(Napi::Env env, Napi::Object exports) {
  exports.Set("arenaTakeCounts", Napi::Function::New(env, guarded<take_counts>));
  exports.Set("arenaActivations", Napi::Function::New(env, guarded<activations>));
}

}  // namespace thermocline::bridge
