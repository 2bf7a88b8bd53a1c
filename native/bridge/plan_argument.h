// EnginePlan and EngineOptions as native/index.ts has them.
#pragma once

#include "../engine/exchange.h"
#include "../engine/plan.h"
#include "argument.h"

namespace thermocline::bridge {

EnginePlan read_plan(const Argument& plan);
// Throws `unsupported` when this CPU lacks the instruction set asked for.
EngineOptions read_options(const Argument& options);
Exchange read_exchange(const Argument& exchange);

}  // namespace thermocline::bridge
