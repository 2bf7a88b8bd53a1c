// The highest of a row's logits (../candidate_order.h), so that only these leave the card.
//
// A block sorts 1024 keys and passes the first few on; rounds of that leave one block. Keys are all different, so it does
// not matter how they were divided. Of 32,000 logits 64 are found in three rounds.
#pragma once

#include "../candidate_order.h"
#include "../memory_layout.h"
#include "target.h"

namespace thermocline::cuda {

inline constexpr unsigned kSortedKeys = 1024, kSortThreads = 256;

constexpr unsigned sorting_blocks(unsigned keys) { return (keys + kSortedKeys - 1) / kSortedKeys; }

// Descending, by the threads of a block (Batcher's bitonic sort, 1968).
THERMOCLINE_DEVICE void sort_keys(uint64_t* keys) {
  for (unsigned size = 2; size <= kSortedKeys; size *= 2) {
    for (unsigned apart = size / 2; apart > 0; apart /= 2) {
      sync_threads();
      for (unsigned pair = thread_index(); pair < kSortedKeys / 2; pair += kSortThreads) {
        const unsigned first = 2 * pair - (pair & (apart - 1)), second = first + apart;
        const uint64_t a = keys[first], b = keys[second];
        const bool descends = (first & size) == 0;
        if ((a < b) != descends) continue;
        keys[first] = b;
        keys[second] = a;
      }
    }
  }
  sync_threads();
}

// Row y of the grid, and 1024 of its `count` logits or, where these are null, keys. Of one block a row the first `most`
// become candidates, kMostCandidates apart from row to row; else keys, `most` of each block.
THERMOCLINE_KERNEL_OF(kSortThreads, 4)
void pass_first(const float* logits, const uint64_t* keys, unsigned count, unsigned most, uint64_t* passed,
                Candidate* candidates) {
  auto* sorted = reinterpret_cast<uint64_t*>(shared_memory());
  const unsigned row = block_index().y, first = block_index().x * kSortedKeys;
  for (unsigned i = thread_index(); i < kSortedKeys; i += kSortThreads) {
    const unsigned at = first + i;
    const size_t from = size_t{row} * count + at;
    sorted[i] = at >= count ? 0 : logits != nullptr ? candidate_key(bits_of(logits[from]), at) : keys[from];
  }
  sort_keys(sorted);
  const bool last = grid_extent().x == 1;
  for (unsigned i = thread_index(); i < most; i += kSortThreads) {
    if (!last) {
      passed[(size_t{row} * grid_extent().x + block_index().x) * most + i] = sorted[i];
    } else if (sorted[i] != 0) {
      candidates[size_t{row} * kMostCandidates + i] = {static_cast<int32_t>(token_of(sorted[i])),
                                                       float_of(logit_bits_of(sorted[i]))};
    }
  }
}

class CandidateSelection {
 public:
  // Takes scratch for so many rows of logits at a time.
  CandidateSelection(unsigned rows, unsigned vocab, MemoryLayout& scratch) {
    for (unsigned keys = vocab, i = 0; i < 2; ++i) {
      const unsigned blocks = sorting_blocks(keys);
      keys = blocks > 1 ? blocks * kMostCandidates : 0;
      keys_[i] = scratch.take<uint64_t>(checked_product({rows, keys}));
    }
  }

  // candidates [rows][kMostCandidates] = the highest `most` of each row of logits [rows][vocab], or all when there are not
  // so many.
  void select(Stream stream, const float* logits, unsigned vocab, unsigned rows, unsigned most,
              Candidate* candidates) const {
    const uint64_t* from = nullptr;
    for (unsigned count = vocab, round = 0;; ++round) {
      const unsigned blocks = sorting_blocks(count);
      uint64_t* to = keys_[round % 2];
      launch(stream, pass_first, {{blocks, rows}, kSortThreads, kSortedKeys * sizeof(uint64_t)},
             round == 0 ? logits : nullptr, from, count, most, to, candidates);
      if (blocks == 1) return;
      count = blocks * most;
      from = to;
    }
  }

 private:
  uint64_t* keys_[2];  // [rows][blocks of the round][most], rounds taking turns
};

}  // namespace thermocline::cuda
