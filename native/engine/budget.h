// Whether what an executor needs fits what it may take.
#pragma once

#include <string>

#include "plan.h"

namespace thermocline {

// In MiB, for messages.
std::string mib(uint64_t bytes);

// Throws Error `out_of_memory` when `needs` as a whole is over the budget; a budget of 0 is none.
void check_budget(const MemoryNeeds& needs, uint64_t budget_bytes);

}  // namespace thermocline
