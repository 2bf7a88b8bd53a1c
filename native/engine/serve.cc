#include <exception>

#include "engine.h"
#include "spin.h"

namespace thermocline {
namespace {

// How soon a stop is noticed while no step comes.
constexpr int64_t kSliceNs = 50'000'000;

// Returns false when it was stopped. Spins only at first: a decoding coordinator submits the next step shortly after
// the last, an idle one need not cost a core.
bool await_submitted(Arena& arena, uint64_t step, const std::atomic<bool>& stop) {
  for (int64_t spin_ns = kSpinNs; !stop.load(std::memory_order_relaxed); spin_ns = 0) {
    const WaitLimits limits{
        .deadline_ns = monotonic_ns() + kSliceNs, .spin_ns = spin_ns, .abort = &arena.abort_flag()};
    switch (arena.submitted().wait(step, limits)) {
      case WaitResult::reached: return true;
      case WaitResult::aborted: throw Error(ErrorCode::aborted, "the arena was aborted");
      case WaitResult::timed_out: break;
    }
  }
  return false;
}

struct EndOfSteps {
  Device& device;
  ~EndOfSteps() { device.end(); }
};

void run_steps(Device& device, Arena& arena, const std::atomic<bool>& stop, std::atomic<uint64_t>& steps) {
  device.begin(arena);
  // Without a part in any step this executor only waits for the end: nobody would wait for it to read one.
  const uint64_t never = UINT64_MAX;
  uint64_t next = device.takes_part() ? arena.completed().value() + 1 : never;
  while (await_submitted(arena, next, stop)) {
    device.run(arena.step());
    steps.fetch_add(1, std::memory_order_relaxed);
    ++next;
  }
}

}  // namespace

std::optional<StepFailure> serve(Device& device, Arena& arena, uint32_t executor, const std::atomic<bool>& stop,
                                 std::atomic<uint64_t>& steps) {
  const EndOfSteps end{device};  // once others know of a failure, for it may take a while
  StepFailure failure{static_cast<int32_t>(executor), ErrorCode::internal, {}};
  try {
    run_steps(device, arena, stop, steps);
    return std::nullopt;
  } catch (const Error& error) {
    failure.code = error.code();
    failure.message = error.what();
  } catch (const std::exception& error) {
    failure.message = error.what();
  }
  if (failure.code != ErrorCode::aborted) arena.fail(failure);
  // The first failure of the arena, which may be another executor's.
  return arena.failure().value_or(failure);
}

}  // namespace thermocline
