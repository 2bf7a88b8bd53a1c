// Writes an executor's timing records for a step that a card takes by itself: phases are listed while they are enqueued,
// and written once the step is done and the card has told when each ended.
#pragma once

#include <vector>

#include "../../arena/arena.h"
#include "card.h"
#include "neuron_counts.h"

namespace thermocline::cuda {

// Bytes of one neuron's rows in the model file.
struct NeuronBytes {
  uint64_t gate, up, down;
};

class CardTimer {
 public:
  // A phase that was enqueued.
  struct Ended {
    Phase phase;
    int32_t layer;
    uint32_t placed;
    uint64_t bytes;
    bool counted;      // whether the layer's NeuronCounts have more to say
    NeuronBytes each;
  };
  // Those of steps that are enqueued alike.
  using Phases = std::vector<Ended>;

  CardTimer(Card& card, TimingRing ring, uint32_t executor) : card_(card), ring_(ring), executor_(executor) {}

  void begin(Phases& phases) {
    phases.clear();
    phases_ = &phases;
    leave_layers();
    card_.mark(0);
  }
  void enter_layer(uint32_t layer, size_t placed) {
    layer_ = static_cast<int32_t>(layer);
    placed_ = static_cast<uint32_t>(placed);
  }
  void leave_layers() {
    layer_ = -1;
    placed_ = 0;
  }
  void end(Phase phase, uint64_t bytes = 0) { add({phase, layer_, placed_, bytes, false, {}}); }
  // Of a layer's neurons, or of its predictor, whose bytes are known.
  void end_counted(Phase phase, uint64_t bytes, const NeuronBytes& each = {}) {
    add({phase, layer_, placed_, bytes, true, each});
  }

  // The step is done; `counts` [layers] are what its layers' neurons did.
  void write(const Step& step, const Phases& phases, const NeuronCounts* counts);

 private:
  void add(const Ended& ended) {
    phases_->push_back(ended);
    card_.mark(phases_->size());
  }

  Card& card_;
  TimingRing ring_;
  uint32_t executor_;
  Phases* phases_ = nullptr;
  int32_t layer_ = -1;
  uint32_t placed_ = 0;
};

}  // namespace thermocline::cuda
