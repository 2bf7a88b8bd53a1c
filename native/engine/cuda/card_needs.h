// What a plan takes of a card's memory, known without one.
#pragma once

#include "../engine.h"

namespace thermocline::cuda {

// As memory_needs().
MemoryNeeds card_memory_needs(const EnginePlan& plan, const EngineOptions& options);

}  // namespace thermocline::cuda
