#include "budget.h"

#include <iomanip>
#include <sstream>

#include "../error.h"
#include "checked.h"

namespace thermocline {

std::string mib(uint64_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / (1 << 20) << " MiB";
  return text.str();
}

void check_budget(const MemoryNeeds& needs, uint64_t budget_bytes) {
  const uint64_t total = checked_sum(checked_sum(needs.weight_bytes, needs.kv_cache_bytes), needs.scratch_bytes);
  if (budget_bytes == 0 || total <= budget_bytes) return;
  throw Error(ErrorCode::out_of_memory,
              "this executor's share needs " + mib(total) + " (weights " + mib(needs.weight_bytes) + ", KV cache " +
                  mib(needs.kv_cache_bytes) + ", scratch " + mib(needs.scratch_bytes) + ") and its budget is " +
                  mib(budget_bytes) +
                  ": place fewer neurons or layers on it, lower the context or the slots, or raise the budget",
              "options.budgetBytes");
}

}  // namespace thermocline
