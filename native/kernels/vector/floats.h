// Rows of F32, F16 and BF16.
#pragma once

#include "lanes256.h"

namespace thermocline {
namespace {

// Lanes in which products are summed, in every instruction set.
constexpr size_t kSumLanes = 16;

struct F32 {
  static constexpr size_t kBytes = sizeof(float);
  template <class Lanes>
  static typename Lanes::Floats load(const uint8_t* from) {
    return Lanes::load_floats(from);
  }
};
struct F16 {
  static constexpr size_t kBytes = sizeof(uint16_t);
  template <class Lanes>
  static typename Lanes::Floats load(const uint8_t* from) {
    return Lanes::load_halves(from);
  }
};
struct BF16 {
  static constexpr size_t kBytes = sizeof(uint16_t);
  template <class Lanes>
  static typename Lanes::Floats load(const uint8_t* from) {
    return Lanes::load_bfloats(from);
  }
};

// The first `count` lanes, less than all; zeros behind them.
template <class Lanes, class Element>
typename Lanes::Floats load_first(const uint8_t* from, size_t count) {
  uint8_t padded[Lanes::kWidth * Element::kBytes] = {};
  __builtin_memcpy(padded, from, count * Element::kBytes);
  return Element::template load<Lanes>(padded);
}

// Calls whole(column, vector's number among the sum lanes) and, for vectors that a rest does not fill, part(column,
// count, number). A rest reaches all sum lanes, with nothing in the last ones: adding 0 makes +0 of a lane's -0, and
// that must not depend on the vectors' width.
template <class Lanes, class Whole, class Part>
void for_each_vector(size_t cols, const Whole& whole, const Part& part) {
  constexpr size_t kVectors = kSumLanes / Lanes::kWidth;
  size_t i = 0;
  for (; i + kSumLanes <= cols; i += kSumLanes) {
    for (size_t v = 0; v < kVectors; ++v) whole(i + v * Lanes::kWidth, v);
  }
  if (i == cols) return;
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t count = cols - i < Lanes::kWidth ? cols - i : Lanes::kWidth;
    if (count == Lanes::kWidth) {
      whole(i, v);
    } else {
      part(i, count, v);
    }
    i += count;
  }
}

// R rows of weights by X rows of activations.
template <class Lanes, class Element, size_t R, size_t X>
void float_tile(const std::byte* const* rows, const Activations& x, size_t first, size_t cols, float* y,
                size_t y_stride) {
  using Floats = typename Lanes::Floats;
  constexpr size_t kVectors = kSumLanes / Lanes::kWidth;
  const uint8_t* w[R];
  const uint8_t* from[X];
  for (size_t r = 0; r < R; ++r) w[r] = bytes_of(rows[r]);
  for (size_t j = 0; j < X; ++j) from[j] = row_of(x, first + j);
  Floats sums[R][X][kVectors];
  for (size_t r = 0; r < R; ++r) {
    for (size_t j = 0; j < X; ++j) {
      for (size_t v = 0; v < kVectors; ++v) sums[r][j][v] = Lanes::zero();
    }
  }
  const auto add = [&](const auto& load_w, const auto& load_x, size_t v) {
    Floats values[X];
    for (size_t j = 0; j < X; ++j) values[j] = load_x(from[j]);
    for (size_t r = 0; r < R; ++r) {
      const Floats weights = load_w(w[r]);
      for (size_t j = 0; j < X; ++j) sums[r][j][v] = Lanes::multiply_add(weights, values[j], sums[r][j][v]);
    }
  };
  for_each_vector<Lanes>(
      cols,
      [&](size_t i, size_t v) {
        add([&](const uint8_t* row) { return Element::template load<Lanes>(row + i * Element::kBytes); },
            [&](const uint8_t* row) { return F32::load<Lanes>(row + i * F32::kBytes); }, v);
      },
      [&](size_t i, size_t count, size_t v) {
        add([&](const uint8_t* row) { return load_first<Lanes, Element>(row + i * Element::kBytes, count); },
            [&](const uint8_t* row) { return load_first<Lanes, F32>(row + i * F32::kBytes, count); }, v);
      });
  for (size_t r = 0; r < R; ++r) {
    for (size_t j = 0; j < X; ++j) store_at(y, (first + j) * y_stride + r, Lanes::total16(sums[r][j]));
  }
}

// As many rows at once as hide the latency of an addition, by as many activations as registers allow.
template <class Lanes, class Element>
void multiply_float_rows(const std::byte* const* rows, size_t count, const Activations& x, size_t cols, float* y,
                         size_t y_stride) {
  constexpr size_t kRows = 4;
  constexpr size_t kTile = Lanes::kWidth / 4;  // 2 of 16 registers' accumulators, 4 of 32
  size_t i = 0;
  for (; i + kRows <= count; i += kRows) {
    size_t j = 0;
    for (; j + kTile <= x.count; j += kTile) {
      for (size_t r = 0; r < kRows; r += kTile) {
        float_tile<Lanes, Element, kTile, kTile>(rows + i + r, x, j, cols, y + i + r, y_stride);
      }
    }
    for (; j < x.count; ++j) float_tile<Lanes, Element, kRows, 1>(rows + i, x, j, cols, y + i, y_stride);
  }
  for (; i < count; ++i) {
    for (size_t j = 0; j < x.count; ++j) float_tile<Lanes, Element, 1, 1>(rows + i, x, j, cols, y + i, y_stride);
  }
}

template <class Lanes, class Element>
double dot_f64(const uint8_t* w, const uint8_t* x, size_t cols) {
  constexpr size_t kVectors = kSumLanes / Lanes::kWidth;
  typename Lanes::Wide sums[kVectors];
  for (auto& sum : sums) sum = Lanes::wide_zero();
  for_each_vector<Lanes>(
      cols,
      [&](size_t i, size_t v) {
        sums[v] = Lanes::add(sums[v], Lanes::multiply(Element::template load<Lanes>(w + i * Element::kBytes),
                                                      F32::load<Lanes>(x + i * F32::kBytes)));
      },
      [&](size_t i, size_t count, size_t v) {
        sums[v] = Lanes::add(sums[v], Lanes::multiply(load_first<Lanes, Element>(w + i * Element::kBytes, count),
                                                      load_first<Lanes, F32>(x + i * F32::kBytes, count)));
      });
  double total = 0;
  for (const auto& sum : sums) total += Lanes::total(sum);
  return total;
}

template <class Lanes, class Element>
void add_float_rows_f64(const std::byte* const* rows, size_t count, const Activations& x, size_t cols, double* y,
                        size_t y_stride) {
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < x.count; ++j) {
      const double before = load<double>(bytes_of(y) + (j * y_stride + i) * sizeof(double));
      store_at(y, j * y_stride + i, before + dot_f64<Lanes, Element>(bytes_of(rows[i]), row_of(x, j), cols));
    }
  }
}

template <class Lanes, class Element>
void accumulate_floats(const float* scales, const std::byte* const* rows, size_t count, double* y, size_t cols) {
  constexpr size_t kWidth = Lanes::kWidth;
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    auto sums = Lanes::load_wide(y + c);
    for (size_t i = 0; i < count; ++i) {
      const auto weights = Element::template load<Lanes>(bytes_of(rows[i]) + c * Element::kBytes);
      sums = Lanes::add(sums, Lanes::multiply(Lanes::splat(scales[i]), weights));
    }
    Lanes::store(y + c, sums);
  }
  if (c == cols) return;
  double rest[kWidth] = {};
  __builtin_memcpy(rest, y + c, (cols - c) * sizeof(double));
  auto sums = Lanes::load_wide(rest);
  for (size_t i = 0; i < count; ++i) {
    const auto weights = load_first<Lanes, Element>(bytes_of(rows[i]) + c * Element::kBytes, cols - c);
    sums = Lanes::add(sums, Lanes::multiply(Lanes::splat(scales[i]), weights));
  }
  Lanes::store(rest, sums);
  __builtin_memcpy(y + c, rest, (cols - c) * sizeof(double));
}

template <class Lanes, class Element>
void dequantize_floats(const std::byte* row, float* y, size_t cols) {
  constexpr size_t kWidth = Lanes::kWidth;
  const uint8_t* from = bytes_of(row);
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    Lanes::store(y + c, Element::template load<Lanes>(from + c * Element::kBytes));
  }
  if (c == cols) return;
  float rest[kWidth];
  Lanes::store(rest, load_first<Lanes, Element>(from + c * Element::kBytes, cols - c));
  __builtin_memcpy(y + c, rest, (cols - c) * sizeof(float));
}

template <class Lanes>
void add_scaled_f16(float scale, const uint16_t* row, float* y, size_t cols) {
  constexpr size_t kWidth = Lanes::kWidth;
  const uint8_t* from = bytes_of(row);
  const auto scales = Lanes::splat(scale);
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    const auto weights = Lanes::load_halves(from + c * F16::kBytes);
    Lanes::store(y + c, Lanes::multiply_add(scales, weights, Lanes::load_floats(bytes_of(y + c))));
  }
  if (c == cols) return;
  float rest[kWidth];
  const auto weights = load_first<Lanes, F16>(from + c * F16::kBytes, cols - c);
  const auto before = load_first<Lanes, F32>(bytes_of(y + c), cols - c);
  Lanes::store(rest, Lanes::multiply_add(scales, weights, before));
  __builtin_memcpy(y + c, rest, (cols - c) * sizeof(float));
}

}  // namespace
}  // namespace thermocline
