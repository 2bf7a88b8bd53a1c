// Products with panels of Q8_0 and Q4_0: sixteen rows of weights by several of activations.
#pragma once

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

// As many lanes of a panel as a vector has, from lane `lane` on, by X rows of activations.
template <class Lanes, template <class> class Sums, class Block, size_t X>
void panel_tile(const uint8_t* panel, size_t lane, const Activations& x, size_t first, size_t cols,
                typename Sums<Lanes>::Number* y, size_t y_stride) {
  const uint8_t* from[X];
  for (size_t j = 0; j < X; ++j) from[j] = row_of(x, first + j);
  Sums<Lanes> sums[X];
  const uint8_t* scales = panel + lane * kWeightQuants;
  const uint8_t* lines = panel + kPanelScaleBytes + lane * 4;
  for (size_t b = 0; b < cols / kBlock; ++b) {
    const Block block(lines);
    const auto d = Lanes::load_halves(scales);
    for (size_t j = 0; j < X; ++j) {
      const uint8_t* quants = from[j] + b * kActivationBytes;
      const auto value = Lanes::multiply(d, Lanes::to_floats(block.dot(quants)));
      sums[j].add(Lanes::multiply(Lanes::splat(load<float>(quants)), value));
    }
    scales += Block::kBytes;
    lines += Block::kBytes;
  }
  for (size_t j = 0; j < X; ++j) sums[j].put(y + (first + j) * y_stride + lane);
}

template <class Lanes, template <class> class Sums, class Block>
void multiply_panels(const Panels& panels, const Activations& x, size_t cols, typename Sums<Lanes>::Number* y,
                     size_t y_stride) {
  constexpr size_t kTile = 4;  // rows of activations that share a block in registers
  for (size_t p = 0; p < panels.count; ++p, y += kPanelRows) {
    const uint8_t* panel = bytes_of(panels.data) + p * panels.stride;
    for (size_t lane = 0; lane < kPanelRows; lane += Lanes::kWidth) {
      size_t j = 0;
      for (; j + kTile <= x.count; j += kTile) {
        panel_tile<Lanes, Sums, Block, kTile>(panel, lane, x, j, cols, y, y_stride);
      }
      for (; j < x.count; ++j) panel_tile<Lanes, Sums, Block, 1>(panel, lane, x, j, cols, y, y_stride);
    }
  }
}

}  // namespace
}  // namespace thermocline
