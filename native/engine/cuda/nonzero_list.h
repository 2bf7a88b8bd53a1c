// The neurons of a segment whose down rows a tile of rows needs.
#pragma once

#include "card_neurons.h"

namespace thermocline::cuda {

// Neurons are divided into segments, whose sums are added in order. Their number follows from that of the neurons alone:
// enough blocks of threads for any card, and of each at least some 64 neurons, of which some fire. A segment's words fit
// the lanes of a warp. With many rows there are blocks enough in segments that are larger by kTogether.
struct Segments {
  static constexpr unsigned kLeastNeurons = 64, kMost = 32, kMostNeurons = kWarp * kWarp, kTogether = 8;
  unsigned each, count;

  // Of at least one neuron.
  static constexpr Segments of(unsigned neurons) {
    const unsigned each = whole_words((neurons + most(neurons) - 1) / most(neurons));
    return {each, (neurons + each - 1) / each};
  }
  static constexpr Segments of_many(unsigned neurons) {
    const Segments one = of(neurons);
    return {one.each * kTogether, (one.count + kTogether - 1) / kTogether};
  }
  // Of so many neurons or fewer.
  static constexpr unsigned most(unsigned neurons) {
    const unsigned wanted = (neurons + kLeastNeurons - 1) / kLeastNeurons;
    const unsigned needed = (neurons + kMostNeurons - 1) / kMostNeurons;
    return needed > kMost ? needed : wanted < kMost ? wanted : kMost;
  }
};

// Partial sums of X rows and of so many neurons or fewer.
constexpr size_t partial_sums(unsigned x, unsigned neurons, unsigned embd) {
  return size_t{Segments::most(neurons)} * x * embd;
}
constexpr size_t partial_sums_of_many(unsigned rows, unsigned neurons, unsigned embd) {
  constexpr unsigned kTogether = Segments::kTogether;
  return size_t{(Segments::most(neurons) + kTogether - 1) / kTogether} * rows * embd;
}

// Puts the neurons of `each` from `begin` on whose hidden value is not 0 for a row of the tile into `list`, ascending,
// and their number into `length`; both are shared memory. Every thread of a block must call it.
template <unsigned X>
THERMOCLINE_DEVICE void list_nonzero(const TileNeurons& tile, unsigned begin, unsigned each, uint32_t* list,
                                     uint32_t* length) {
  if (thread_index() < kWarp) {
    const unsigned lane = lane_index(), first = begin + lane * kWarp;  // of the lane's word
    uint32_t bits = 0;
    if (lane * kWarp < each && first < tile.stride) {
      for (unsigned j = 0; j < X; ++j) bits |= tile.nonzero_of(j)[first / kWarp];
    }
    const auto mine = static_cast<uint32_t>(count_bits(bits));
    uint32_t up_to_mine = mine;
    for (unsigned distance = 1; distance < kWarp; distance *= 2) {
      const uint32_t others = from_lane(up_to_mine, lane - distance);
      if (lane >= distance) up_to_mine += others;
    }
    if (lane == kWarp - 1) *length = up_to_mine;
    list += up_to_mine - mine;
    for (; bits != 0; bits &= bits - 1) *list++ = first + lowest_bit(bits);
  }
  sync_threads();
}

}  // namespace thermocline::cuda
