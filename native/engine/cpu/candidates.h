// The highest of a row's logits.
#pragma once

#include "../../arena/arena.h"
#include "../memory_layout.h"
#include "matrix.h"

namespace thermocline {

class Candidates {
 public:
  // Takes scratch for so many threads; 0 when this executor does not run the head.
  Candidates(uint32_t threads, MemoryLayout& scratch)
      : keys_(scratch.take<uint64_t>(uint64_t{threads} * kMostCandidates)), found_(scratch.take<Found>(threads)) {}

  // to[i] = the i-th of the highest `count` of the `vocab` logits, or of all when there are not so many
  // (candidate_order.h).
  void select(const Compute& compute, const float* logits, size_t vocab, uint32_t count, Candidate* to);

 private:
  struct alignas(64) Found {
    uint32_t keys;
  };

  uint64_t* keys_;  // [threads][kMostCandidates] the highest that a thread has seen, the least of them first (a heap)
  Found* found_;    // [threads]
};

}  // namespace thermocline
