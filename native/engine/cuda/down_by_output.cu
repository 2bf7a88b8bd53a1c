#include "down_by_output.h"

#include "elements.h"
#include "gemm.h"
#include "gemv.h"
#include "wide_sum.h"

namespace thermocline::cuda {
namespace {

// Sums of X rows, which `Lanes` lanes next to each other have a part of each, become one sum a lane: lane l's row is
// l / (Lanes / X). Parts are added in an order that does not depend on X. Every lane of a warp must call it.
template <unsigned X, unsigned Lanes>
THERMOCLINE_DEVICE double sum_over_lanes(double (&sums)[X]) {
  static_assert(X <= Lanes);
  const unsigned lane = lane_index();
  unsigned rows = X;
  THERMOCLINE_UNROLL for (unsigned distance = Lanes / 2; distance > 0; distance /= 2) {
    if (rows == 1) {
      sums[0] += from_lane(sums[0], lane ^ distance);
      continue;
    }
    rows /= 2;
    const bool upper = (lane & distance) != 0;
    THERMOCLINE_UNROLL for (unsigned j = 0; j < (X + 1) / 2; ++j) {
      if (j >= rows) continue;
      const double mine = upper ? sums[j + rows] : sums[j], others = upper ? sums[j] : sums[j + rows];
      sums[j] = mine + from_lane(others, lane ^ distance);
    }
  }
  return sums[0];
}

// The lane's sums of what add(sums) adds to them, which is called again for doubles where floats left their range. Every
// lane of a warp must call it.
template <unsigned X, class Add>
THERMOCLINE_DEVICE void add_up(double (&values)[X], const Add& add) {
  WideSum sums[X];
  add(sums);
  uint32_t unknown = 0;
  THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
    values[j] = sums[j].value();
    if (!sums[j].known()) unknown |= 1u << j;
  }
  if (ballot(unknown != 0) == 0) return;
  DoubleSum again[X];
  add(again);
  THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
    if ((unknown >> j & 1) != 0) values[j] = again[j].value();
  }
}

// Whether a row of the tile needs the 32 neurons of its lane's word, or any that share a block of weights with them;
// false behind the last word.
template <WeightType Type>
THERMOCLINE_DEVICE bool needs_group(const uint32_t* nonzero, unsigned word, unsigned words) {
  constexpr unsigned kWords = kIsFloat<Type> ? 1 : card_block(Type).elements / kBlock;
  const bool mine = word < words && nonzero[word] != 0;
  if (kWords == 1) return mine;
  const uint32_t all = ballot(mine), first = lane_index() / kWords * kWords;
  return word < words && (all >> first & ((1u << kWords) - 1)) != 0;
}

// Whether a row of the tile needs one of the neurons first .. last - 1, which begin a word.
template <unsigned X>
THERMOCLINE_DEVICE bool needs_any(const TileNeurons& tile, unsigned first, unsigned last) {
  uint32_t any = 0;
  for (unsigned n = first; n < last; n += kWarp) {
    for (unsigned j = 0; j < X; ++j) any |= tile.nonzero_of(j)[n / kWarp];
  }
  return any != 0;
}

// Adds up the neurons of groups that a row of the tile needs. A kernel's first warp does it.
template <WeightType Type, unsigned X>
THERMOCLINE_DEVICE void count_groups(const TileNeurons& tile, unsigned neurons, NeuronCounts* counts) {
  constexpr unsigned kNeurons = kIsFloat<Type> ? kWarp : card_block(Type).elements;
  if (element_index() >= kWarp) return;
  uint32_t read = 0;
  for (unsigned first = lane_index() * kNeurons; first < neurons; first += kWarp * kNeurons) {
    const unsigned last = first + kNeurons < neurons ? first + kNeurons : neurons;
    if (needs_any<X>(tile, first, last)) read += last - first;
  }
  if (read > 0) add_atomically(&counts->downs, read);
}

// A warp takes an output.
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void multiply_quantized_outputs(CardMatrix down, TileNeurons tile, const Q8Activation* hidden,
                                                   double* out, NeuronCounts* counts) {
  count_groups<Type, X>(tile, down.cols, counts);
  const unsigned output = element_index() / kWarp, lane = lane_index();
  if (output >= down.count) return;
  const unsigned words = down.cols / static_cast<unsigned>(kBlock);
  const RowOfBlocks<Type> row{down.rows + output * card_row_bytes(Type, down.cols),
                              down.cols / static_cast<unsigned>(card_block(Type).elements)};
  double sums[X];
  add_up(sums, [&](auto& to) {
    for (unsigned first = 0; first < words; first += kWarp) {
      const unsigned word = first + lane;
      THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
        if (needs_group<Type>(tile.nonzero_of(j), word, words)) {
          to[j].add(term<Type>(row, word, hidden[size_t{j} * words + word]));
        }
      }
    }
  });
  const double sum = sum_over_lanes<X, kWarp>(sums);
  if (lane % (kWarp / X) == 0) out[size_t{lane / (kWarp / X)} * down.count + output] = sum;
}

// Half a warp takes an output: the lanes that rows of floats are laid out for.
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void multiply_float_outputs(CardMatrix down, TileNeurons tile, double* out,
                                               NeuronCounts* counts) {
  count_groups<Type, X>(tile, down.cols, counts);
  constexpr unsigned kInPiece = kPieceBytes / float_bytes(Type);
  const unsigned output = element_index() / static_cast<unsigned>(kFloatLanes), lane = lane_index() % kFloatLanes;
  if (output / 2 * 2 >= down.count) return;
  // With an odd number of outputs the last warp's second half repeats the last one, for the shuffles' sake.
  const size_t row = output < down.count ? output : down.count - 1;
  const Piece* first_piece = reinterpret_cast<const Piece*>(down.rows + row * card_row_bytes(Type, down.cols)) + lane;
  constexpr unsigned kColumns = kInPiece * kFloatLanes;  // of the lanes' next pieces
  double sums[X];
  add_up(sums, [&](auto& to) {
    const Piece* pieces = first_piece;
    for (unsigned c = lane; c < down.cols; c += kColumns, pieces += kFloatLanes) {
      const unsigned first = c - lane, last = first + kColumns < down.cols ? first + kColumns : down.cols;
      if (!needs_any<X>(tile, first, last)) continue;
      const Piece piece = read_once(pieces);
      THERMOCLINE_UNROLL for (unsigned i = 0; i < kInPiece; ++i) {
        const unsigned column = c + i * static_cast<unsigned>(kFloatLanes);
        if (column >= down.cols) continue;
        const float weight = float_at(piece, i, Type);
        THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
          if (tile.nonzero_of(j)[column / kWarp] == 0) continue;
          to[j].add(weight * tile.hidden[size_t{j} * tile.stride + column]);
        }
      }
    }
  });
  const double sum = sum_over_lanes<X, kFloatLanes>(sums);
  constexpr unsigned kLanesOfRow = static_cast<unsigned>(kFloatLanes) / X;
  if (lane % kLanesOfRow == 0 && output < down.count) out[size_t{lane / kLanesOfRow} * down.count + output] = sum;
}

template <unsigned X>
void multiply_tile_of_rows(Stream stream, const CardMatrix& down, const TileNeurons& tile, Q8Activation* quantized,
                           double* out, NeuronCounts* counts) {
  constexpr unsigned kThreads = 128;
  const auto threads = [&](unsigned each) {
    return Launch{{(down.count * each + kThreads - 1) / kThreads}, kThreads};
  };
  for_type(down.type, [&]<WeightType Type>() {
    if constexpr (kIsFloat<Type>) {
      launch(stream, multiply_float_outputs<Type, X>, threads(kFloatLanes), down, tile, out, counts);
    } else {
      quantize(stream, tile.hidden, X, down.cols, false, quantized);
      launch(stream, multiply_quantized_outputs<Type, X>, threads(kWarp), down, tile,
             static_cast<const Q8Activation*>(quantized), out, counts);
    }
  });
}

}  // namespace

void sum_down_by_output(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
                        Q8Activation* quantized, double* out, NeuronCounts* counts) {
  for_tile(rows, [&]<unsigned X>() { multiply_tile_of_rows<X>(stream, down, tile, quantized, out, counts); });
}

void sum_down_of_many_by_output(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
                                Q8Activation* quantized, double* out) {
  quantize(stream, tile.hidden, rows, down.cols, false, quantized);
  for_type(down.type, [&]<WeightType Type>() {
    if constexpr (!kIsFloat<Type>) {
      multiply_many<Type>(stream, down, quantized, rows, tile.stride / kWarp, out, down.count, tile.nonzero);
    }
  });
}

}  // namespace thermocline::cuda
