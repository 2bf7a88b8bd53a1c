#pragma once

#include <napi.h>

namespace thermocline::bridge {

void export_engine(Napi::Env env, Napi::Object exports);

}  // namespace thermocline::bridge
