// Rows of F32, F16 and BF16.
#pragma once

#include "ahead.h"

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
template <class Lanes, class Element, size_t R, size_t X, class Ask>
void float_tile(const std::byte* const* rows, const Activations& x, size_t first, size_t cols, float* y,
                size_t y_stride, Ask ask) {
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
        ask.to(i * Element::kBytes);
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
        float_tile<Lanes, Element, kTile, kTile>(rows + i + r, x, j, cols, y + i + r, y_stride, AskNothing());
      }
    }
    for (; j < x.count; ++j) {
      const AskRowsAhead<kRows> ask(rows, i / kRows, count, cols * Element::kBytes);
      float_tile<Lanes, Element, kRows, 1>(rows + i, x, j, cols, y + i, y_stride, ask);
    }
  }
  for (; i < count; ++i) {
    for (size_t j = 0; j < x.count; ++j) {
      float_tile<Lanes, Element, 1, 1>(rows + i, x, j, cols, y + i, y_stride, AskNothing());
    }
  }
}

// R rows of weights, whose products with a row of activations are added to y.
template <class Lanes, class Element, size_t R, class Ask>
void float_tile_f64(const std::byte* const* rows, const uint8_t* x, size_t cols, double* y, Ask ask) {
  constexpr size_t kVectors = kSumLanes / Lanes::kWidth;
  typename Lanes::Wide sums[R][kVectors];
  for (size_t r = 0; r < R; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = Lanes::wide_zero();
  }
  for_each_vector<Lanes>(
      cols,
      [&](size_t i, size_t v) {
        ask.to(i * Element::kBytes);
        const auto values = F32::load<Lanes>(x + i * F32::kBytes);
        for (size_t r = 0; r < R; ++r) {
          const auto weights = Element::template load<Lanes>(bytes_of(rows[r]) + i * Element::kBytes);
          sums[r][v] = Lanes::add(sums[r][v], Lanes::multiply(weights, values));
        }
      },
      [&](size_t i, size_t count, size_t v) {
        const auto values = load_first<Lanes, F32>(x + i * F32::kBytes, count);
        for (size_t r = 0; r < R; ++r) {
          const auto weights = load_first<Lanes, Element>(bytes_of(rows[r]) + i * Element::kBytes, count);
          sums[r][v] = Lanes::add(sums[r][v], Lanes::multiply(weights, values));
        }
      });
  for (size_t r = 0; r < R; ++r) {
    double total = 0;
    for (const auto& sum : sums[r]) total += Lanes::total(sum);
    store_at(y, r, load<double>(bytes_of(y) + r * sizeof(double)) + total);
  }
}

template <class Lanes, class Element>
void add_float_rows_f64(const std::byte* const* rows, size_t count, const Activations& x, size_t cols, double* y,
                        size_t y_stride) {
  constexpr size_t kRows = Lanes::kWidth / 4;  // half of the registers hold sums
  size_t i = 0;
  for (; i + kRows <= count; i += kRows) {
    for (size_t j = 0; j < x.count; ++j) {
      const AskRowsAhead<kRows> ask(rows, i / kRows, count, cols * Element::kBytes);
      float_tile_f64<Lanes, Element, kRows>(rows + i, row_of(x, j), cols, y + j * y_stride + i, ask);
    }
  }
  for (; i < count; ++i) {
    for (size_t j = 0; j < x.count; ++j) {
      float_tile_f64<Lanes, Element, 1>(rows + i, row_of(x, j), cols, y + j * y_stride + i, AskNothing());
    }
  }
}

template <class Lanes, class Element>
void accumulate_floats(const float* scales, const std::byte* const* rows, size_t count, double* y, size_t cols) {
  constexpr size_t kWidth = Lanes::kWidth;
  AskAhead ahead(rows, count);
  size_t c = 0;
  for (; c + kWidth <= cols; c += kWidth) {
    ahead.to(c * Element::kBytes);
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

// V vectors of columns, whose sums stay in registers from row to row; rows are `cols` apart.
template <class Lanes, size_t V>
void add_scaled_columns(const float* scales, const uint8_t* rows, size_t count, float* y, size_t cols) {
  typename Lanes::Floats sums[V];
  for (size_t v = 0; v < V; ++v) sums[v] = Lanes::load_floats(bytes_of(y + v * Lanes::kWidth));
  for (size_t i = 0; i < count; ++i) {
    const auto scale = Lanes::splat(scales[i]);
    const uint8_t* row = rows + i * cols * F16::kBytes;
    for (size_t v = 0; v < V; ++v) {
      sums[v] = Lanes::multiply_add(scale, Lanes::load_halves(row + v * Lanes::kWidth * F16::kBytes), sums[v]);
    }
  }
  for (size_t v = 0; v < V; ++v) Lanes::store(y + v * Lanes::kWidth, sums[v]);
}

template <class Lanes>
void add_scaled_rows_f16(const float* scales, const uint16_t* rows, size_t count, float* y, size_t cols) {
  constexpr size_t kVectors = 4;
  constexpr size_t kWidth = Lanes::kWidth;
  const uint8_t* from = bytes_of(rows);
  size_t c = 0;
  for (; c + kVectors * kWidth <= cols; c += kVectors * kWidth) {
    add_scaled_columns<Lanes, kVectors>(scales, from + c * F16::kBytes, count, y + c, cols);
  }
  for (; c + kWidth <= cols; c += kWidth) {
    add_scaled_columns<Lanes, 1>(scales, from + c * F16::kBytes, count, y + c, cols);
  }
  if (c == cols) return;
  float rest[kWidth];
  auto sums = load_first<Lanes, F32>(bytes_of(y + c), cols - c);
  for (size_t i = 0; i < count; ++i) {
    const auto weights = load_first<Lanes, F16>(from + (i * cols + c) * F16::kBytes, cols - c);
    sums = Lanes::multiply_add(Lanes::splat(scales[i]), weights, sums);
  }
  Lanes::store(rest, sums);
  __builtin_memcpy(y + c, rest, (cols - c) * sizeof(float));
}

}  // namespace
}  // namespace thermocline
