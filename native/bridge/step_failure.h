#pragma once

#include <napi.h>

#include "../arena/arena.h"

namespace thermocline::bridge {

inline Napi::Object to_js(Napi::Env env, const StepFailure& failure) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("executor", failure.executor);
  result.Set("code", name_of(failure.code));
  result.Set("message", failure.message);
  return result;
}

}  // namespace thermocline::bridge
