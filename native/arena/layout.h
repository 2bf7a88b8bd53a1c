// Where everything lies in an arena. Follows from ArenaOptions alone.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arena.h"

namespace thermocline {

// Offsets from the mapping's start, each on a page, in this order.
struct ArenaLayout {
  uint64_t semaphores;     // Semaphore [2 + executors]: submitted, completed, each executor's progress
  uint64_t step;           // StepDescriptor, then StepRow [max_rows]
  uint64_t failures;       // FailureLog
  uint64_t rings;          // for each executor a TimingRing::Header and a Slot [ring_capacity]
  uint64_t ffn_input;      // float [max_rows][embd]
  uint64_t active_set;     // uint64_t [max_rows][(ff + 63) / 64]
  uint64_t partial_sums;   // double [executors][max_rows][embd]
  uint64_t residual;       // float [max_rows][embd]
  uint64_t logits;         // float [max_logit_rows][vocab]
  uint64_t candidates;     // Candidate [max_logit_rows][kMostCandidates]
  // Empty unless observed.
  uint64_t fired_counts;     // uint32_t [layers][ff]
  uint64_t fired_strengths;  // float [layers][ff]
  uint64_t predictor_input;  // float [layers][max_rows][embd]
  uint64_t fired_sets;       // uint64_t [executors][layers][max_rows][(ff + 63) / 64]
  uint64_t bytes;
  uint64_t ring_bytes;     // of one ring, a multiple of the page size
  uint64_t ring_capacity;  // records, a power of two

  bool operator==(const ArenaLayout&) const = default;
};

// Throws `invalid-argument` naming the option that is out of range.
ArenaLayout layout_of(const ArenaOptions& options);

// The start of every arena, written once by its creator.
struct ArenaHeader {
  static constexpr uint64_t kMagic = 0x4e494c434f4d5254;  // "TRMOCLIN"
  static constexpr uint32_t kVersion = 6;                 // raised by every change of the layout

  uint64_t magic;
  uint32_t version;
  ArenaOptions options;
  uint64_t epoch;
  ArenaLayout layout;
};

struct StepDescriptor {
  uint64_t number;
  uint32_t rows;
  uint32_t observed;  // 0 or 1
  uint64_t exchange;
};

}  // namespace thermocline
