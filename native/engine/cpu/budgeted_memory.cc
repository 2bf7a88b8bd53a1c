#include "budgeted_memory.h"

#include <sys/mman.h>

#include <iomanip>
#include <sstream>

#include "../../error.h"
#include "../checked.h"

namespace thermocline {
namespace {

std::string mib(uint64_t bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << static_cast<double>(bytes) / (1 << 20) << " MiB";
  return text.str();
}

uint64_t total(const MemoryNeeds& needs) {
  return checked_sum(checked_sum(needs.weight_bytes, needs.kv_cache_bytes), needs.scratch_bytes);
}

}  // namespace

BudgetedMemory::BudgetedMemory(uint64_t budget_bytes) : budget_bytes_(budget_bytes) {}

BudgetedMemory::~BudgetedMemory() {
  for (const Block& block : blocks_) ::munmap(block.start, block.bytes);
}

void BudgetedMemory::check(const MemoryNeeds& needs) const {
  if (budget_bytes_ == 0 || total(needs) <= budget_bytes_) return;
  throw Error(ErrorCode::out_of_memory,
              "this executor's share needs " + mib(total(needs)) + " (weights " + mib(needs.weight_bytes) +
                  ", KV cache " + mib(needs.kv_cache_bytes) + ", scratch " + mib(needs.scratch_bytes) +
                  ") and its budget is " + mib(budget_bytes_) +
                  ": place fewer neurons or layers on it, lower the context or the slots, or raise the budget",
              "options.budgetBytes");
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
  check(after);
  taken_ = after;
}

}  // namespace thermocline
