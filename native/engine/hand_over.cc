#include "hand_over.h"

#include "spin.h"

namespace thermocline {
namespace {

// No layer takes an executor this long, not even one that reads its weights from a slow disk; whoever is waited for is
// stuck then. A dead one is noticed far sooner, by the coordinator, which aborts the arena.
constexpr int64_t kDeadlineSeconds = 30;

}  // namespace

void HandOver::check_aborted() const {
  if (arena_.aborted()) give_up();
}

void HandOver::give_up() const {
  throw Error(ErrorCode::aborted, "step " + std::to_string(step_) + " was given up");
}

void HandOver::await_input(uint32_t layer) {
  await(schedule_.layers[layer].attention, schedule_.input_ready(step_, layer), "input", layer);
}

void HandOver::await_partial(uint32_t layer, uint32_t peer) {
  await(peer, schedule_.partial_ready(step_, layer), "partial sum", layer);
}

void HandOver::await_residual(uint32_t layer) {
  await(schedule_.layers[layer].attention, schedule_.residual_ready(step_, layer), "residual", layer);
}

void HandOver::await(uint32_t executor, uint64_t value, const char* what, uint32_t layer) {
  const WaitLimits limits{.deadline_ns = monotonic_ns() + kDeadlineSeconds * 1'000'000'000,
                          .spin_ns = kSpinNs,
                          .abort = &arena_.abort_flag()};
  switch (wait(arena_.progress(executor), value, limits)) {
    // Whoever gives a step up lets those through who cannot be woken otherwise: then nothing was reached.
    case WaitResult::reached: return check_aborted();
    case WaitResult::aborted: give_up();
    case WaitResult::timed_out:
      throw Error(ErrorCode::timed_out,
                  "executor " + std::to_string(self_) + " waited " + std::to_string(kDeadlineSeconds) +
                      " s for executor " + std::to_string(executor) + "'s " + what + " of layer " +
                      std::to_string(layer) + " in step " + std::to_string(step_) + "; executor " +
                      std::to_string(executor) + " is stuck, restart it");
  }
}

}  // namespace thermocline
