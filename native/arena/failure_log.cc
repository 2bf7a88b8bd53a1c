#include "failure_log.h"

#include <algorithm>
#include <string>

namespace thermocline {
namespace {

// Published when every record was claimed by reporters that died before they could publish theirs.
constexpr uint32_t kNoRecord = FailureLog::kRecords + 1;

uint32_t cut_length(const std::string& message) {
  if (message.size() <= FailureLog::kMostMessageBytes) return static_cast<uint32_t>(message.size());
  uint32_t length = FailureLog::kMostMessageBytes;
  while (length > 0 && (message[length] & 0xc0) == 0x80) --length;  // not inside a UTF-8 sequence
  return length;
}

}  // namespace

void FailureLog::report(const StepFailure& failure) {
  if (first.load(std::memory_order_acquire) != 0) return;
  const uint32_t index = claimed.fetch_add(1, std::memory_order_relaxed);
  if (index < kRecords) {
    Record& record = records[index];
    record.executor = failure.executor;
    record.code = static_cast<uint32_t>(failure.code);
    record.length = cut_length(failure.message);
    std::copy_n(failure.message.data(), record.length, record.message);
  }
  uint32_t none = 0;
  first.compare_exchange_strong(none, index < kRecords ? index + 1 : kNoRecord, std::memory_order_acq_rel);
}

std::optional<StepFailure> FailureLog::failure() const {
  const uint32_t published = first.load(std::memory_order_acquire);
  if (published == 0) return std::nullopt;
  if (published >= kNoRecord) return StepFailure{-1, ErrorCode::aborted, "the arena was aborted, no reason given"};
  const Record& record = records[published - 1];
  const bool known = record.code <= static_cast<uint32_t>(ErrorCode::internal);
  return StepFailure{record.executor, known ? static_cast<ErrorCode>(record.code) : ErrorCode::internal,
                     std::string(record.message, std::min(record.length, kMostMessageBytes))};
}

}  // namespace thermocline
