// What executors recorded of observed steps.
#pragma once

#include <napi.h>

namespace thermocline::bridge {

void export_observation(Napi::Env env, Napi::Object exports);

}  // namespace thermocline::bridge
