// Writes an executor's timing records. The clock is read once where one phase ends and the next begins.
#pragma once

#include "../arena/arena.h"

namespace thermocline {

class PhaseTimer {
 public:
  PhaseTimer(TimingRing ring, uint32_t executor) : ring_(ring) { record_.executor = executor; }

  // The first phase begins now, outside the layers.
  void begin(const Step& step) {
    record_.step = step.number;
    record_.rows = step.rows;
    record_.end_ns = monotonic_ns();
    leave_layers();
  }

  // What follows is part of a layer in which this executor holds `placed` neurons.
  void enter_layer(uint32_t layer, size_t placed) {
    record_.layer = static_cast<int32_t>(layer);
    record_.placed = static_cast<uint32_t>(placed);
  }

  void leave_layers() {
    record_.layer = kOutsideLayers;
    record_.placed = 0;
  }

  // Ends a phase that read `bytes` of weights and in which `active` (row, neuron) pairs fired; the next begins now.
  void end(Phase phase, uint64_t bytes = 0, uint32_t active = 0) {
    record_.phase = phase;
    record_.start_ns = record_.end_ns;
    record_.end_ns = monotonic_ns();
    record_.bytes = bytes;
    record_.active = active;
    ring_.write(record_);
  }

 private:
  static constexpr int32_t kOutsideLayers = -1;

  TimingRing ring_;
  Timing record_{};
};

}  // namespace thermocline
