// What JavaScript cancels long work with.
#pragma once

#include "../engine/engine.h"
#include "handle.h"

namespace thermocline::bridge {

struct CancelToken {
  static constexpr napi_type_tag kTag{0xb3e7140c5f9d4268, 0xa7f06e1d2c8b4953};
  static constexpr const char* kName = "cancel";

  CancelFlag flag{false};
};

}  // namespace thermocline::bridge
