#include "budgeted_memory.h"

#include <sys/mman.h>

#include "../../error.h"
#include "../budget.h"
#include "../checked.h"

namespace thermocline {

BudgetedMemory::BudgetedMemory(uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}

BudgetedMemory::~BudgetedMemory() {
  for (const Block& block : blocks_) ::munmap(block.start, block.bytes);
}

std::byte* BudgetedMemory::take(MemoryUse use, uint64_t bytes) {
  count(use, bytes);
  if (bytes == 0) return nullptr;
  void* start = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) {
    throw Error(ErrorCode::out_of_memory, "the system has no " + mib(bytes) + " of memory left for this executor");
  }
  blocks_.push_back({start, bytes});
  // Weights are filled from end to end and then only read: large pages save the table walks. The KV cache and scratch
  // stay in small ones, because much of them may never be touched.
  if (use == MemoryUse::weights) ::madvise(start, bytes, MADV_HUGEPAGE);
  return static_cast<std::byte*>(start);
}

void BudgetedMemory::count(MemoryUse use, uint64_t bytes) {
  MemoryNeeds after = taken_;
  uint64_t& counter = use == MemoryUse::weights    ? after.weight_bytes
                      : use == MemoryUse::kv_cache ? after.kv_cache_bytes
                                                   : after.scratch_bytes;
  counter = checked_sum(counter, bytes);
  check_budget(after, budget_bytes_);
  taken_ = after;
}

}  // namespace thermocline
