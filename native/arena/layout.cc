#include "layout.h"

#include <bit>
#include <string>

#include "failure_log.h"

namespace thermocline {
namespace {

constexpr uint64_t kPage = 4096;

// Far above any model or machine, and low enough that no product of them overflows 64 bits.
constexpr uint32_t kMostExecutors = 255;  // an owner is one byte
constexpr uint32_t kMostLayers = 1 << 12;
constexpr uint32_t kMostRows = 1 << 16;
constexpr uint32_t kMostWidth = 1 << 24;

// A step writes a record for each phase of each layer, plus embedding and head, which count as one more layer. The
// coordinator reads after each step; room for four rides out a reader that is late.
constexpr uint64_t kPhasesInLayer = 8;
constexpr uint64_t kStepsInRing = 4;

void check(const char* option, uint32_t value, uint32_t most) {
  if (value >= 1 && value <= most) return;
  throw Error(ErrorCode::invalid_argument,
              std::string("options.") + option + " is " + std::to_string(value) + ": it must be from 1 to " +
                  std::to_string(most),
              std::string("options.") + option);
}

uint64_t round_up(uint64_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

ArenaLayout layout_of(const ArenaOptions& o) {
  check("executors", o.executors, kMostExecutors);
  check("layers", o.layers, kMostLayers);
  check("embd", o.embd, kMostWidth);
  check("ff", o.ff, kMostWidth);
  check("vocab", o.vocab, kMostWidth);
  check("maxRows", o.max_rows, kMostRows);
  check("maxLogitRows", o.max_logit_rows, o.max_rows);
  if (o.observation > Observation::activations) {
    throw Error(ErrorCode::invalid_argument, "options.observation is none of those known", "options.observation");
  }

  ArenaLayout layout{};
  uint64_t end = 0;
  const auto place = [&end](uint64_t bytes) {
    const uint64_t start = end;
    end += round_up(bytes);
    return start;
  };
  const uint64_t rows = o.max_rows;
  const uint64_t activations = rows * o.embd * sizeof(float);

  layout.ring_capacity = std::bit_ceil(kStepsInRing * kPhasesInLayer * (uint64_t{o.layers} + 1));
  layout.ring_bytes = round_up(sizeof(TimingRing::Header) + layout.ring_capacity * sizeof(TimingRing::Slot));
  place(sizeof(ArenaHeader));
  layout.semaphores = place((2 + uint64_t{o.executors}) * sizeof(Semaphore));
  layout.step = place(sizeof(StepDescriptor) + rows * sizeof(StepRow));
  layout.failures = place(sizeof(FailureLog));
  layout.rings = place(o.executors * layout.ring_bytes);
  layout.ffn_input = place(activations);
  const uint64_t neuron_bits = rows * ((uint64_t{o.ff} + 63) / 64) * sizeof(uint64_t);
  layout.active_set = place(neuron_bits);
  layout.partial_sums = place(o.executors * rows * o.embd * sizeof(double));
  layout.residual = place(activations);
  layout.logits = place(uint64_t{o.max_logit_rows} * o.vocab * sizeof(float));
  layout.candidates = place(uint64_t{o.max_logit_rows} * kMostCandidates * sizeof(Candidate));
  const uint64_t counted_layers = o.observation >= Observation::counts ? o.layers : 0;
  const uint64_t recorded_layers = o.observation >= Observation::activations ? o.layers : 0;
  layout.fired_counts = place(counted_layers * o.ff * sizeof(uint32_t));
  layout.fired_strengths = place(counted_layers * o.ff * sizeof(float));
  layout.predictor_input = place(recorded_layers * activations);
  layout.fired_sets = place(o.executors * recorded_layers * neuron_bits);
  layout.bytes = end;
  return layout;
}

}  // namespace thermocline
