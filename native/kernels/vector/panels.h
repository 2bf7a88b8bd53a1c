// Products with panels of Q8_0 and Q4_0: sixteen rows of weights by several of activations.
#pragma once

#include "ahead.h"
#include "dots.h"

namespace thermocline {
namespace {

constexpr size_t kLineBytes = kPanelRows * 4;  // a panel's 4 bytes of every row
constexpr size_t kPanelScaleBytes = kPanelRows * kWeightQuants;
constexpr size_t kGroups = kBlock / 4;  // of quants of a block

// A panel's block, its rows' lanes from `row_bytes` of each line on, loaded once for all activations.
template <class Lanes, class Dot>
struct PanelQ4_0 {
  using Ints = typename Lanes::Ints;
  static constexpr size_t kBytes = kPanelRows * kQ4_0BlockBytes;
  Ints nibbles[kGroups];

  explicit PanelQ4_0(const uint8_t* lines) {
    for (size_t g = 0; g < kGroups / 2; ++g) {
      const Ints both = Lanes::load_ints(lines + g * kLineBytes);
      nibbles[g] = Lanes::low_nibbles(both);
      nibbles[g + kGroups / 2] = Lanes::high_nibbles(both);
    }
  }
  // Each lane: its row's integer.
  Ints dot(const uint8_t* x) const {
    Ints sums = Dot::nibbles_zero();
    for (size_t g = 0; g < kGroups; ++g) {
      sums = Dot::add_nibbles(sums, nibbles[g], Lanes::splat4(x + kActivationQuants + 4 * g));
    }
    return Lanes::subtract(Dot::nibbles_done(sums), Lanes::splat(8 * load<int32_t>(x + kActivationSum)));
  }
};

template <class Lanes, class Dot>
struct PanelQ8_0 {
  using Ints = typename Lanes::Ints;
  static constexpr size_t kBytes = kPanelRows * kQ8_0BlockBytes;
  Ints bytes[kGroups];

  explicit PanelQ8_0(const uint8_t* lines) {
    for (size_t g = 0; g < kGroups; ++g) bytes[g] = Lanes::load_ints(lines + g * kLineBytes);
  }
  Ints dot(const uint8_t* x) const {
    Ints sums = Lanes::splat(-Dot::kByteZero * load<int32_t>(x + kActivationSum));
    for (size_t g = 0; g < kGroups; ++g) {
      sums = Dot::add_bytes(sums, bytes[g], Lanes::splat4(x + kActivationQuants + 4 * g));
    }
    return sums;
  }
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

// How far ahead of each of four streams lines are asked for. A core gets some 30 GB/s from memory that answers after
// some 100 ns, so that 3 KB are under way, 768 bytes of each stream; twice that covers what takes longer. On a Zen 5 two
// cores read Q4_0 panels at 31 GB/s without asking, at 50 GB/s from 1 to 2 KiB ahead, where plain reads get 55 to 66.
constexpr size_t kAheadBytes = 1536;

// Vectors that a panel's rows fill.
template <class Lanes>
constexpr size_t kPanelVectors = kPanelRows / Lanes::kWidth;

// P panels, V vectors of each from lane `lane` on, by X rows of activations.
template <class Lanes, template <class> class Sums, class Block, size_t P, size_t V, size_t X>
void panel_tile(const uint8_t* panel, size_t stride, size_t lane, const Activations& x, size_t first, size_t cols,
                typename Sums<Lanes>::Number* y, size_t y_stride) {
  const uint8_t* from[X];
  for (size_t j = 0; j < X; ++j) from[j] = row_of(x, first + j);
  Sums<Lanes> sums[P][V][X];
  for (size_t b = 0; b < cols / kBlock; ++b) {
    for (size_t p = 0; p < P; ++p) {
      const uint8_t* at = panel + p * stride + b * Block::kBytes;
      if constexpr (X == 1) {
        for (size_t i = 0; i < Block::kBytes; i += kLine) _mm_prefetch(at + kAheadBytes + i, _MM_HINT_T0);
      }
      for (size_t v = 0; v < V; ++v) {
        const size_t first_lane = lane + v * Lanes::kWidth;
        const Block block(at + kPanelScaleBytes + first_lane * 4);
        const auto d = Lanes::load_halves(at + first_lane * kWeightQuants);
        for (size_t j = 0; j < X; ++j) {
          const uint8_t* quants = from[j] + b * kActivationBytes;
          const auto value = Lanes::multiply(d, Lanes::to_floats(block.dot(quants)));
          sums[p][v][j].add(Lanes::multiply(Lanes::splat(load<float>(quants)), value));
        }
      }
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
