// Records which neurons of a layer fired, in steps that are observed.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "../active_set.h"

namespace thermocline {

struct NeuronObserver {
  uint32_t* counts;     // [ff]
  float* strengths;     // [ff]
  uint64_t* fired_set;  // [rows of the step][words], or null
  size_t words;

  // Neurons of one word may be other threads'; a neuron's own entries are this thread's alone.
  void fired(size_t row, uint32_t neuron, float hidden) const {
    ++counts[neuron];
    strengths[neuron] += std::abs(hidden);
    if (fired_set == nullptr) return;
    const std::atomic_ref<uint64_t> word(fired_set[row * words + neuron / kActiveWordBits]);
    word.fetch_or(uint64_t{1} << (neuron % kActiveWordBits), std::memory_order_relaxed);
  }
};

}  // namespace thermocline
