// The one place where errors of the native code become errors of JavaScript.
#pragma once

#include <napi.h>

#include "../error.h"

namespace thermocline::bridge {

// An Error with `code` and, unless it is empty, `argument`.
Napi::Error to_js_error(Napi::Env env, const Error& error);

// The exception at hand as an Error; for catch blocks.
Error current_error();

using Call = Napi::Value (*)(const Napi::CallbackInfo& info);

// An exported function: whatever it throws becomes a JavaScript exception.
template <Call call>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return call(info);
  } catch (const Napi::Error&) {
    throw;  // is one already
  } catch (...) {
    throw to_js_error(info.Env(), current_error());
  }
}

}  // namespace thermocline::bridge
