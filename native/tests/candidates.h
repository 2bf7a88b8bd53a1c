// What candidates are to be: logits, sorted.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "../arena/arena.h"
#include "check.h"

namespace thermocline::test {

inline std::vector<Candidate> sorted_candidates(const std::vector<float>& logits, size_t count) {
  std::vector<int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  std::stable_sort(tokens.begin(), tokens.end(), [&](int32_t left, int32_t right) {
    const float a = logits[static_cast<size_t>(left)], b = logits[static_cast<size_t>(right)];
    return (a != a && b == b) || a > b;
  });
  std::vector<Candidate> sorted;
  for (size_t i = 0; i < std::min(count, tokens.size()); ++i) {
    sorted.push_back({tokens[i], logits[static_cast<size_t>(tokens[i])]});
  }
  return sorted;
}

inline void check_candidates(const Candidate* actual, const std::vector<float>& logits, size_t count) {
  for (const Candidate& expected : sorted_candidates(logits, count)) {
    CHECK_EQ(actual->token, expected.token);
    CHECK(actual->logit == expected.logit || (actual->logit != actual->logit && expected.logit != expected.logit));
    ++actual;
  }
}

// Logits of all kinds: many alike, both zeros, both infinities, and NaNs of both signs.
inline std::vector<float> awkward_logits(size_t count, uint32_t seed) {
  std::vector<float> logits(count);
  uint32_t state = seed;
  for (float& logit : logits) {
    state = state * 1664525 + 1013904223;
    const uint32_t kind = state >> 24;
    logit = static_cast<float>(static_cast<int32_t>(state) >> 16) / (kind % 2 == 0 ? 4096.0f : 3e-9f);
    if (kind < 40) logit = kind % 2 == 0 ? 0.0f : -0.0f;
    if (kind == 41) logit = -1.0f / 0.0f;
    if (kind == 42 && seed % 3 == 1) logit = 1.0f / 0.0f;
    if (kind == 43 && seed % 3 == 2) logit = state % 2048 < 1024 ? 0.0f / 0.0f : -(0.0f / 0.0f);
    if (seed % 5 == 4) logit = -1.0f / 0.0f;
  }
  return logits;
}

}  // namespace thermocline::test
