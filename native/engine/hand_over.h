// This executor's side of the timelines of schedule.h within one step.
#pragma once

#include <string>

#include "../arena/arena.h"
#include "schedule.h"

namespace thermocline {

// Waits throw Error: `aborted` when the arena was aborted meanwhile, `timed_out` after 30 s.
class HandOver {
 public:
  HandOver(Arena& arena, const Schedule& schedule, uint32_t executor)
      : arena_(arena), schedule_(schedule), self_(executor) {}
  virtual ~HandOver() = default;

  void begin(uint64_t step) { step_ = step; }
  void check_aborted() const;

  void signal_input(uint32_t layer) { raise(schedule_.input_ready(step_, layer)); }
  void signal_partial(uint32_t layer) { raise(schedule_.partial_ready(step_, layer)); }
  void signal_residual(uint32_t layer) { raise(schedule_.residual_ready(step_, layer)); }
  void signal_completed() { arena_.completed().signal(step_); }

  void await_input(uint32_t layer);                  // from the layer's owner
  void await_partial(uint32_t layer, uint32_t peer);
  void await_residual(uint32_t layer);               // from the layer's owner

 protected:
  // A device that takes its work ahead does these in its own order.
  virtual void raise(Semaphore& timeline, uint64_t value) { timeline.signal(value); }
  virtual WaitResult wait(Semaphore& timeline, uint64_t value, const WaitLimits& limits) {
    return timeline.wait(value, limits);
  }

 private:
  void raise(uint64_t value) { raise(arena_.progress(self_), value); }
  [[noreturn]] void give_up() const;
  void await(uint32_t executor, uint64_t value, const char* what, uint32_t layer);

  Arena& arena_;
  const Schedule& schedule_;
  uint32_t self_;
  uint64_t step_ = 0;
};

}  // namespace thermocline
