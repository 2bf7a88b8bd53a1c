// Whether an arena was made for a plan.
#pragma once

#include "../arena/arena.h"
#include "plan.h"

namespace thermocline {

// Throws Error `invalid_argument` that names the arena's field at fault.
void check_arena(const ArenaOptions& arena, const EnginePlan& plan);

}  // namespace thermocline
