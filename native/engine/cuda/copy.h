// Memory of the card and of the arena, to and fro. A kernel does it: of the few KiB that a layer hands over, a copying
// engine would take longer to begin.
#pragma once

#include "elements.h"

namespace thermocline::cuda {

THERMOCLINE_KERNEL void copy_words(uint32_t* to, const uint32_t* from, unsigned words) {
  const unsigned i = element_index();
  if (i < words) to[i] = from[i];
}

// `to` and `from` begin at multiples of 4, and have as many bytes.
inline void copy(Stream stream, void* to, const void* from, size_t bytes) {
  const auto words = static_cast<unsigned>(bytes / sizeof(uint32_t));
  launch(stream, copy_words, by_element(words), static_cast<uint32_t*>(to), static_cast<const uint32_t*>(from), words);
}

THERMOCLINE_KERNEL void clear_words(uint32_t* words, unsigned count) {
  const unsigned i = element_index();
  if (i < count) words[i] = 0;
}

inline void clear(Stream stream, void* memory, size_t bytes) {
  const auto words = static_cast<unsigned>(bytes / sizeof(uint32_t));
  launch(stream, clear_words, by_element(words), static_cast<uint32_t*>(memory), words);
}

}  // namespace thermocline::cuda
