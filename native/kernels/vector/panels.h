// Products with panels, sixteen rows of weights by several of activations; and the panels of Q8_0 and Q4_0.
#pragma once

#include "ahead.h"
#include "dots.h"

namespace thermocline {
namespace {

constexpr size_t kGroups = kBlock / 4;  // of quants of 32 columns

// Of an activation block's quants.
int32_t sum_of(const uint8_t* x) {
  return load<int16_t>(x + kActivationSums) + load<int16_t>(x + kActivationSums + sizeof(int16_t));
}

// A block of a panel, its rows from `lane` on, has a part for each 32 columns, which is unpacked once for all
// activations. A part's value(x) is, in each lane, what it adds to its row's product, but for x's scale.
template <class Lanes, class Dot>
class PanelQ4_0 {
  using Ints = typename Lanes::Ints;

 public:
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kPanelRows * kQ4_0BlockBytes;

  PanelQ4_0(const uint8_t* block, size_t lane) : block_(block), lane_(lane) {}

  struct Part {
    Ints nibbles[kGroups];
    typename Lanes::Floats d;

    typename Lanes::Floats value(const uint8_t* x) const {
      Ints sums = Dot::nibbles_zero();
      for (size_t g = 0; g < kGroups; ++g) {
        sums = Dot::add_nibbles(sums, nibbles[g], Lanes::splat4(x + kActivationQuants + 4 * g));
      }
      const Ints zeros = Lanes::splat(8 * sum_of(x));
      return Lanes::multiply(d, Lanes::to_floats(Lanes::subtract(Dot::nibbles_done(sums), zeros)));
    }
  };

  template <size_t>
  Part part() const {
    const uint8_t* from = block_ + kPanelRows * kWeightQuants + lane_ * kPanelPiece;
    Part part;
    for (size_t g = 0; g < kGroups / 2; ++g) {
      const Ints both = Lanes::load_ints(from + g * kPanelRows * kPanelPiece);
      part.nibbles[g] = Lanes::low_nibbles(both);
      part.nibbles[g + kGroups / 2] = Lanes::high_nibbles(both);
    }
    part.d = Lanes::load_halves(block_ + lane_ * kWeightQuants);
    return part;
  }

 private:
  const uint8_t* block_;
  size_t lane_;
};

template <class Lanes, class Dot>
class PanelQ8_0 {
  using Ints = typename Lanes::Ints;

 public:
  static constexpr size_t kElements = kBlock;
  static constexpr size_t kBytes = kPanelRows * kQ8_0BlockBytes;

  PanelQ8_0(const uint8_t* block, size_t lane) : block_(block), lane_(lane) {}

  struct Part {
    Ints bytes[kGroups];
    typename Lanes::Floats d;

    typename Lanes::Floats value(const uint8_t* x) const {
      Ints sums = Lanes::splat(-Dot::kByteZero * sum_of(x));
      for (size_t g = 0; g < kGroups; ++g) {
        sums = Dot::add_bytes(sums, bytes[g], Lanes::splat4(x + kActivationQuants + 4 * g));
      }
      return Lanes::multiply(d, Lanes::to_floats(sums));
    }
  };

  template <size_t>
  Part part() const {
    const uint8_t* from = block_ + kPanelRows * kWeightQuants + lane_ * kPanelPiece;
    Part part;
    for (size_t g = 0; g < kGroups; ++g) part.bytes[g] = Lanes::load_ints(from + g * kPanelRows * kPanelPiece);
    part.d = Lanes::load_halves(block_ + lane_ * kWeightQuants);
    return part;
  }

 private:
  const uint8_t* block_;
  size_t lane_;
};

template <class Lanes>
struct F32Sums {
  using Number = float;
  typename Lanes::Floats sums = Lanes::zero();
  void add(typename Lanes::Floats terms) { sums = Lanes::add(sums, terms); }
  void put(float* y) const { Lanes::store(y, sums); }
};

template <class Lanes>
struct F64Sums {
  using Number = double;
  typename Lanes::Wide sums = Lanes::wide_zero();
  void add(typename Lanes::Floats terms) { sums = Lanes::add(sums, terms); }
  void put(double* y) const {
    const auto before = Lanes::load_wide(y);
    Lanes::store(y, {before.low + sums.low, before.high + sums.high});
  }
};

// A block's parts read its pieces in another order than they lie in: with the first part all of it must be there.
template <class Block>
constexpr size_t kAheadOf = Block::kBytes > kAheadBytes ? Block::kBytes : kAheadBytes;

// Vectors that a panel's rows fill.
template <class Lanes>
constexpr size_t kPanelVectors = kPanelRows / Lanes::kWidth;

template <size_t I>
struct Index {};

// Calls visit(Index<part>) for each 32 columns of a block.
template <class Block, size_t Sub = 0, class Visit>
[[gnu::always_inline]] inline void for_each_part(const Visit& visit) {
  if constexpr (Sub < Block::kElements / kBlock) {
    visit(Index<Sub>{});
    for_each_part<Block, Sub + 1>(visit);
  }
}

// Asks for a part's share of a block's lines.
template <class Block, size_t Sub>
void ask_ahead(const uint8_t* block) {
  constexpr size_t kParts = Block::kElements / kBlock;
  constexpr size_t kLines = (Block::kBytes + kLine - 1) / kLine;
  for (size_t line = Sub * kLines / kParts; line < (Sub + 1) * kLines / kParts; ++line) {
    _mm_prefetch(block + kAheadOf<Block> + line * kLine, _MM_HINT_T0);
  }
}

// P panels, V vectors of each from lane `lane` on, by X rows of activations.
template <class Lanes, template <class> class Sums, class Block, size_t P, size_t V, size_t X>
void panel_tile(const uint8_t* panel, size_t stride, size_t lane, const Activations& x, size_t first, size_t cols,
                typename Sums<Lanes>::Number* y, size_t y_stride) {
  const uint8_t* from[X];
  for (size_t j = 0; j < X; ++j) from[j] = row_of(x, first + j);
  Sums<Lanes> sums[P][V][X];
  for (size_t i = 0, offset = 0; i < cols; i += Block::kElements, offset += Block::kBytes) {
    const size_t x_offset = i / kBlock * kActivationBytes;
    const auto add = [&]<size_t Sub>(Index<Sub>, const Block& block, size_t p, size_t v) {
      if (X == 1 && v == 0) ask_ahead<Block, Sub>(panel + p * stride + offset);
      const auto part = block.template part<Sub>();
      for (size_t j = 0; j < X; ++j) {
        const uint8_t* quants = from[j] + x_offset + Sub * kActivationBytes;
        sums[p][v][j].add(Lanes::multiply(Lanes::splat(load<float>(quants)), part.value(quants)));
      }
    };
    const auto block_at = [&](size_t p, size_t v) {
      return Block(panel + p * stride + offset, lane + v * Lanes::kWidth);
    };
    if constexpr (Block::kElements == kBlock) {
      for (size_t p = 0; p < P; ++p) {
        for (size_t v = 0; v < V; ++v) add(Index<0>{}, block_at(p, v), p, v);
      }
    } else {
      Block blocks[P][V];
      for (size_t p = 0; p < P; ++p) {
        for (size_t v = 0; v < V; ++v) blocks[p][v] = block_at(p, v);
      }
      // Part after part, so that lines are asked for evenly.
      for_each_part<Block>([&](auto part) {
        for (size_t p = 0; p < P; ++p) {
          for (size_t v = 0; v < V; ++v) add(part, blocks[p][v], p, v);
        }
      });
    }
  }
  for (size_t p = 0; p < P; ++p) {
    for (size_t v = 0; v < V; ++v) {
      for (size_t j = 0; j < X; ++j) {
        sums[p][v][j].put(y + (first + j) * y_stride + p * kPanelRows + lane + v * Lanes::kWidth);
      }
    }
  }
}

// One row of activations is as fast as memory: several panels side by side, because a core's prefetchers keep more reads
// under way for several streams than for one. For many rows a block's quants stay in registers.
template <class Lanes, template <class> class Sums, class Block>
void multiply_panels(const Panels& panels, const Activations& x, size_t cols, typename Sums<Lanes>::Number* y,
                     size_t y_stride) {
  constexpr size_t kStreams = 4;
  constexpr size_t kTile = 4;
  constexpr size_t kVectors = kPanelVectors<Lanes>;
  const size_t stride = panels.stride;
  const size_t tiled = x.count / kTile * kTile;
  const auto panel = [&](size_t p) { return bytes_of(panels.data) + p * stride; };
  for (size_t p = 0; p < panels.count && tiled > 0; ++p) {
    for (size_t lane = 0; lane < kPanelRows; lane += Lanes::kWidth) {
      for (size_t j = 0; j < tiled; j += kTile) {
        panel_tile<Lanes, Sums, Block, 1, 1, kTile>(panel(p), stride, lane, x, j, cols, y + p * kPanelRows, y_stride);
      }
    }
  }
  for (size_t j = tiled; j < x.count; ++j) {
    size_t p = 0;
    for (; p + kStreams <= panels.count; p += kStreams) {
      panel_tile<Lanes, Sums, Block, kStreams, kVectors, 1>(panel(p), stride, 0, x, j, cols, y + p * kPanelRows,
                                                            y_stride);
    }
    for (; p < panels.count; ++p) {
      panel_tile<Lanes, Sums, Block, 1, kVectors, 1>(panel(p), stride, 0, x, j, cols, y + p * kPanelRows, y_stride);
    }
  }
}

}  // namespace
}  // namespace thermocline
