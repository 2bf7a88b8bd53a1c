#include "candidates.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "../candidate_order.h"

namespace thermocline {

void Candidates::select(const Compute& compute, const float* logits, size_t vocab, uint32_t count, Candidate* to) {
  const uint32_t threads = compute.pool.threads();
  for (uint32_t t = 0; t < threads; ++t) found_[t].keys = 0;
  compute.pool.parallel_for(vocab, [&](size_t begin, size_t end, uint32_t thread) {
    uint64_t* const keys = keys_ + size_t{thread} * kMostCandidates;
    uint32_t found = found_[thread].keys;
    const auto key_of = [&](size_t token) {
      return candidate_key(std::bit_cast<uint32_t>(logits[token]), static_cast<uint32_t>(token));
    };
    size_t token = begin;
    for (; token < end && found < count; ++token) {
      keys[found++] = key_of(token);
      std::push_heap(keys, keys + found, std::greater<>());
    }
    found_[thread].keys = found;
    float least = candidate_of(keys[0]).logit;
    for (; token < end; ++token) {
      // Most end here; a NaN does not.
      if (logits[token] < least) continue;
      const uint64_t key = key_of(token);
      if (key < keys[0]) continue;
      std::pop_heap(keys, keys + found, std::greater<>());
      keys[found - 1] = key;
      std::push_heap(keys, keys + found, std::greater<>());
      least = candidate_of(keys[0]).logit;
    }
  });
  // The others' keys go behind the first thread's, who has room for all of them.
  uint64_t* end = keys_ + found_[0].keys;
  for (uint32_t t = 1; t < threads; ++t) {
    const uint64_t* from = keys_ + size_t{t} * kMostCandidates;
    end = from == end ? end + found_[t].keys : std::copy(from, from + found_[t].keys, end);
  }
  const size_t most = std::min<size_t>(count, static_cast<size_t>(end - keys_));
  std::partial_sort(keys_, keys_ + most, end, std::greater<>());
  std::transform(keys_, keys_ + most, to, candidate_of);
}

}  // namespace thermocline
