// Kernels of one thread an element.
#pragma once

#include "target.h"

namespace thermocline::cuda {

inline Launch by_element(unsigned elements) {
  constexpr unsigned kThreads = 256;
  return {{(elements + kThreads - 1) / kThreads}, kThreads};
}

THERMOCLINE_DEVICE unsigned element_index() { return block_index().x * block_threads() + thread_index(); }

}  // namespace thermocline::cuda
