// Refuses steps that would read or write past what the plan laid out, or attend to positions never computed.
#pragma once

#include <vector>

#include "../arena/arena.h"
#include "plan.h"

namespace thermocline {

class StepCheck {
 public:
  StepCheck(const EnginePlan& plan, uint32_t max_logit_rows);

  // Throws Error `invalid_argument` that names the row, such as `rows[3].position`. A slot's rows within a step are at
  // consecutive positions; its first may start anywhere up to the end of what the slot holds, and ends it there.
  void check(const Step& step);

 private:
  struct Slot {
    int32_t positions = 0;   // held by the cache
    uint64_t last_step = 0;
  };

  uint32_t vocab_, context_length_, max_rows_, max_logit_rows_;
  std::vector<Slot> slots_;
};

}  // namespace thermocline
