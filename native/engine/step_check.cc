#include "step_check.h"

#include <string>

namespace thermocline {
namespace {

[[noreturn]] void reject(size_t row, const char* field, const std::string& message) {
  const std::string argument = "rows[" + std::to_string(row) + "]." + field;
  throw Error(ErrorCode::invalid_argument, argument + " " + message, argument);
}

void check_index(size_t row, const char* field, int32_t value, size_t limit) {
  if (value >= 0 && static_cast<size_t>(value) < limit) return;
  reject(row, field, "is " + std::to_string(value) + "; it must be 0 to " + std::to_string(limit - 1));
}

}  // namespace

StepCheck::StepCheck(const EnginePlan& plan, uint32_t max_logit_rows)
    : vocab_(plan.shape.vocab),
      context_length_(plan.context_length),
      max_rows_(plan.max_rows),
      max_logit_rows_(max_logit_rows),
      slots_(plan.slots) {}

void StepCheck::check(const Step& step) {
  if (step.rows == 0 || step.rows > max_rows_) {
    throw Error(ErrorCode::invalid_argument,
                "a step has " + std::to_string(step.rows) + " rows; it must have 1 to " + std::to_string(max_rows_),
                "rows");
  }
  uint32_t logit_rows = 0;
  for (size_t r = 0; r < step.rows; ++r) {
    const StepRow& row = step.row[r];
    check_index(r, "token", row.token, vocab_);
    check_index(r, "position", row.position, context_length_);
    check_index(r, "slot", row.slot, slots_.size());
    Slot& slot = slots_[static_cast<size_t>(row.slot)];
    const bool continues = slot.last_step == step.number;
    if (row.position > slot.positions || (continues && row.position != slot.positions)) {
      reject(r, "position",
             "is " + std::to_string(row.position) + " where slot " + std::to_string(row.slot) + " holds " +
                 std::to_string(slot.positions) + " positions; " +
                 (continues ? "a slot's rows within a step must be consecutive" : "no position may be left out"));
    }
    slot = {row.position + 1, step.number};
    if (row.wants_logits != 0 && ++logit_rows > max_logit_rows_) {
      reject(r, "wantsLogits", "is one more than the " + std::to_string(max_logit_rows_) + " the arena has room for");
    }
  }
}

}  // namespace thermocline
