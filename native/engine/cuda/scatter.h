// Many short pieces of memory, each taken to a place of its own in one launch. They may come from the host's memory:
// blocks ask for theirs at the same time, so that the bus is busy while each waits.
#pragma once

#include "target.h"

namespace thermocline::cuda {

// `to` and `from` begin at multiples of 4, and of 16 where there are more than three words.
struct ScatteredCopy {
  void* to;
  const void* from;
  unsigned words;  // of 4 bytes
};

// A block takes a copy.
THERMOCLINE_KERNEL void scatter_copies(const ScatteredCopy* copies) {
  const ScatteredCopy copy = copies[block_index().x];
  constexpr unsigned kWordsOfPiece = sizeof(Piece) / sizeof(uint32_t);
  const unsigned pieces = copy.words / kWordsOfPiece;
  for (unsigned i = thread_index(); i < pieces; i += block_threads()) {
    static_cast<Piece*>(copy.to)[i] = static_cast<const Piece*>(copy.from)[i];
  }
  const unsigned i = pieces * kWordsOfPiece + thread_index();
  if (i < copy.words) static_cast<uint32_t*>(copy.to)[i] = static_cast<const uint32_t*>(copy.from)[i];
}

// No two overlap. `copies` is read when the kernel runs.
inline void scatter(Stream stream, const ScatteredCopy* copies, unsigned count) {
  constexpr unsigned kThreads = 128;
  if (count > 0) launch(stream, scatter_copies, {{count}, kThreads}, copies);
}

}  // namespace thermocline::cuda
