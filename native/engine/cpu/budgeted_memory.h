// The one place a CPU device takes its large memory from, under a budget.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../plan.h"

namespace thermocline {

enum class MemoryUse { weights, kv_cache, scratch };

class BudgetedMemory {
 public:
  explicit BudgetedMemory(uint64_t budget_bytes);  // 0: no limit
  ~BudgetedMemory();
  BudgetedMemory(const BudgetedMemory&) = delete;
  BudgetedMemory& operator=(const BudgetedMemory&) = delete;

  // Zeroed, page-aligned memory that lives as long as this; nullptr for 0 bytes. Throws Error `out_of_memory`, from the
  // budget or from the system.
  std::byte* take(MemoryUse use, uint64_t bytes);

  // Counts memory that is used but not taken here (weights computed with in the file's pages) against the budget.
  void count(MemoryUse use, uint64_t bytes);

  const MemoryNeeds& taken() const { return taken_; }

 private:
  struct Block {
    void* start;
    uint64_t bytes;
  };
  uint64_t budget_bytes_;
  MemoryNeeds taken_{};
  std::vector<Block> blocks_;
};

}  // namespace thermocline
