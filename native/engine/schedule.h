// Who computes what, and at which values of which timeline an executor's work becomes visible to the others.
//
// Every executor holds the same Schedule and derives the same values, so no message travels between layers:
//   owner(l)   runs attention and the predictor of layer l, holds the residual, merges;
//   peers(l)   the other executors with neurons in layer l.
// In step s, on its own progress timeline,
//   owner(l) signals input_ready(s, l)   once ffn_input and active_set of layer l are in the arena (if it has peers);
//   a peer   signals partial_ready(s, l) once its partial sum of layer l is in the arena;
//   owner(l) signals residual_ready(s, l) once the residual after layer l is in the arena (if the next layer's owner,
//            or the head's for the last layer, is another executor).
// The head's executor raises completed() to s. It waits, directly or through merges, for all other work of the step.
#pragma once

#include <cstdint>
#include <vector>

namespace thermocline {

enum class ExecutorKind : uint8_t { cpu, gpu };

struct LayerSchedule {
  uint32_t attention;                 // owner(l)
  std::vector<uint8_t> neuron_owner;  // [ff]
};

struct Schedule {
  std::vector<ExecutorKind> executors;
  std::vector<LayerSchedule> layers;
  uint32_t head;

  uint64_t input_ready(uint64_t step, uint32_t layer) const { return base(step) + 2 * layer + 1; }
  uint64_t partial_ready(uint64_t step, uint32_t layer) const { return base(step) + 2 * layer + 1; }
  uint64_t residual_ready(uint64_t step, uint32_t layer) const { return base(step) + 2 * layer + 2; }

 private:
  uint64_t base(uint64_t step) const { return step * (2 * layers.size() + 2); }
};

}  // namespace thermocline
