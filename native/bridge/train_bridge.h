#pragma once

#include <napi.h>

namespace thermocline::bridge {

void export_training(Napi::Env env, Napi::Object exports);

}  // namespace thermocline::bridge
