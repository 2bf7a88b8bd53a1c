// Why an arena was aborted: the first failure counts, whoever dies while telling.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "arena.h"

namespace thermocline {

// Lives in shared memory; all zero means that nothing failed. A reporter fills a record of its own and then publishes
// it by one compare-exchange of `first`, which is the abort flag at the same time. So there is no moment in which a
// killed reporter leaves half a record, or a failure nobody else can report any more.
struct FailureLog {
  static constexpr uint32_t kRecords = 64;
  static constexpr uint32_t kMostMessageBytes = 512;

  struct Record {
    int32_t executor;
    uint32_t code;
    uint32_t length;
    char message[kMostMessageBytes];  // UTF-8, cut between characters
  };

  alignas(64) std::atomic<uint32_t> first;  // 0: no failure; else 1 + the index of its record
  alignas(64) std::atomic<uint32_t> claimed;
  Record records[kRecords];

  // Does nothing when a failure is there already.
  void report(const StepFailure& failure);
  std::optional<StepFailure> failure() const;
};

}  // namespace thermocline
