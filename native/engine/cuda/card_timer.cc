#include "card_timer.h"

namespace thermocline::cuda {

void CardTimer::write(const Step& step, const Phases& phases, const NeuronCounts* counts) {
  int64_t start_ns = card_.marked_ns(0);
  for (size_t i = 0; i < phases.size(); ++i) {
    const Ended& ended = phases[i];
    Timing record{};
    record.step = step.number;
    record.start_ns = start_ns;
    record.end_ns = start_ns = card_.marked_ns(i + 1);
    record.bytes = ended.bytes;
    record.executor = executor_;
    record.layer = ended.layer;
    record.phase = ended.phase;
    record.rows = step.rows;
    record.placed = ended.placed;
    if (ended.counted) {
      const NeuronCounts& did = counts[ended.layer];
      record.active = ended.phase == Phase::predict ? did.predicted : did.fired;
      record.bytes += did.gates * ended.each.gate + did.ups * ended.each.up + did.downs * ended.each.down;
    }
    ring_.write(record);
  }
}

}  // namespace thermocline::cuda
