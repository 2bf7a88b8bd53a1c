// One executor's weights, KV cache and step loop. What computes a step is a Device; the loop around it is the same
// for all of them.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "../arena/arena.h"
#include "exchange.h"
#include "plan.h"

namespace thermocline {

using Progress = std::function<void(uint64_t bytes_done, uint64_t bytes_total)>;
using CancelFlag = std::atomic<bool>;

// Something that computes this executor's part of a step: CPU cores over mapped or resident weights, or a card.
class Device {
 public:
  virtual ~Device() = default;
  virtual const MemoryNeeds& memory() const = 0;
  virtual uint32_t threads() const = 0;
  // False when the schedule gives it nothing to do: steps then pass it by, and their data may change under it.
  virtual bool takes_part() const = 0;
  // Empties the KV cache; the next steps come from `arena`, on the calling thread. Throws Error `invalid_argument` when
  // the arena was made for another model or schedule.
  virtual void begin(Arena& arena) = 0;
  // Lets go of the arena: no more steps come from it, and its memory may go away. What an earlier failure left undone is
  // no failure any more.
  virtual void end() noexcept = 0;
  // Applies the step's exchange, if there is one, and computes this executor's part of the step at hand, with the
  // hand-overs of schedule.h. Throws Error: `aborted` when the arena was aborted meanwhile, anything else is a failure of
  // this executor.
  virtual void run(const Step& step) = 0;
  // Reads the weights that an exchange brings here, on any thread while steps run, so that the step that names it only
  // copies them. Takes the place of one that was staged before and not applied. Returns the bytes to be copied. Throws
  // Error: `invalid_argument` or `unsupported` as validate() does, or while another one is being staged; `cancelled`.
  virtual uint64_t stage(const Exchange& exchange, const CancelFlag& cancel) = 0;
  // Any thread: whether the exchange that was staged last has been applied.
  virtual bool exchanged() const = 0;
};

// Bytes that a device of these options needs for a plan; exactly what it will take (the plan itself and the lists made
// from it, a few bytes a neuron, aside). Opens no file. Throws Error on a plan that contradicts itself.
MemoryNeeds memory_needs(const EnginePlan& plan, const EngineOptions& options);

// Maps the model file and copies what is resident; the budget is checked before anything is taken. `progress` is called
// on this thread. Throws Error: as memory_needs(), `not_found`, `corrupt`, `out_of_memory`, `cancelled`, `system`; as
// DeviceLibrary does, where the options name one.
std::unique_ptr<Device> load_device(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                                    const CancelFlag& cancel);

// The step loop. Waits for steps of `arena` and runs them on `device` until `stop` is set or something fails. Returns
// the failure that ended it, or nothing when it was stopped. An executor's own failure is also recorded in the arena.
// Blocks its thread; `stop` is looked at between steps and whenever a wait's slice ends.
std::optional<StepFailure> serve(Device& device, Arena& arena, uint32_t executor, const std::atomic<bool>& stop,
                                 std::atomic<uint64_t>& steps);

}  // namespace thermocline
