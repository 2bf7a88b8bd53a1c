// From what a step is to the kernel compiled for it.
#pragma once

#include "../../kernels/kernels.h"

namespace thermocline::cuda {

// Rows of activations that a warp multiplies a row of weights with, which it reads once for them.
inline constexpr unsigned kMostRows = 8;

// Rows that are computed together where a step has that many: as many as a block of gemm() takes. What is kept of each
// of them in between (a value a neuron) grows with it.
inline constexpr unsigned kManyRows = 64;

// Calls use.operator()<type>().
template <class Use>
void for_type(WeightType type, const Use& use) {
  switch (type) {
    case WeightType::f32: return use.template operator()<WeightType::f32>();
    case WeightType::f16: return use.template operator()<WeightType::f16>();
    case WeightType::bf16: return use.template operator()<WeightType::bf16>();
    case WeightType::q8_0: return use.template operator()<WeightType::q8_0>();
    case WeightType::q4_0: return use.template operator()<WeightType::q4_0>();
    case WeightType::q4_k: return use.template operator()<WeightType::q4_k>();
    case WeightType::q5_k: return use.template operator()<WeightType::q5_k>();
    case WeightType::q6_k: return use.template operator()<WeightType::q6_k>();
  }
}

// Divides rows into tiles of 64 and the rest; calls use(its first row, its rows).
template <class Use>
void for_many(unsigned rows, const Use& use) {
  for (unsigned first = 0; first < rows; first += kManyRows) {
    use(first, rows - first < kManyRows ? rows - first : kManyRows);
  }
}

// Of the tiles that so many rows are divided into.
constexpr unsigned most_rows_of_tile(unsigned rows) {
  return rows >= kMostRows ? kMostRows : rows >= 4 ? 4 : rows >= 2 ? 2 : rows;
}

// Calls use.operator()<rows>() for the rows of a tile: 8, 4, 2 or 1.
template <class Use>
void for_tile(unsigned rows, const Use& use) {
  static_assert(kMostRows == 8);
  switch (rows) {
    case 8: return use.template operator()<8>();
    case 4: return use.template operator()<4>();
    case 2: return use.template operator()<2>();
    default: return use.template operator()<1>();
  }
}

// Divides rows into such tiles; calls use(its first row, its rows).
template <class Use>
void for_tiles(unsigned rows, const Use& use) {
  for (unsigned first = 0, tile = 0; first < rows; first += tile) {
    tile = most_rows_of_tile(rows - first);
    use(first, tile);
  }
}

}  // namespace thermocline::cuda
