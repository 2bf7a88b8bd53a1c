// Opaque handles: JavaScript holds a C++ object and can do nothing with it but pass it back.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "../error.h"

namespace thermocline::bridge {

// Every T has a `kTag` of its own, which tells handles apart (also from those of other addons), and a `kName` for
// errors. The handle owns a share of the object and gives it up when it is collected.
template <class T>
Napi::Value make_handle(Napi::Env env, std::shared_ptr<T> object) {
  using Share = std::shared_ptr<T>;
  auto share = std::make_unique<Share>(std::move(object));
  auto handle = Napi::External<Share>::New(env, share.get(), [](Napi::Env, Share* owned) { delete owned; });
  share.release();
  handle.TypeTag(&T::kTag);
  return handle;
}

template <class T>
const std::shared_ptr<T>& from_handle(const Napi::Value& value) {
  using Share = std::shared_ptr<T>;
  if (!value.IsExternal() || !value.As<Napi::External<Share>>().CheckTypeTag(&T::kTag)) {
    throw Error(ErrorCode::invalid_argument, std::string(T::kName) + " is not a handle of one", T::kName);
  }
  return *value.As<Napi::External<Share>>().Data();
}

}  // namespace thermocline::bridge
