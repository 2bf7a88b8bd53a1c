// y[j][r] = row r of a matrix of floats · x[j] for many rows of activations: the bits of gemv.h, and therefore on the
// units that multiply and add f32.
//
// A product is sixteen lanes' sums (kernels.h). A thread has one lane's of 16 rows of weights and 8 of activations:
// 128 sums, half of its registers. For four columns of its lane it reads 16 + 8 pieces of shared memory and does 512
// multiply-adds: a read for 21 of them, 0.19 words for each. A warp's reads take 96 cycles at 128 bytes a cycle, and
// its multiply-adds 128 at four instructions. With 8 by 8 sums both would take as long. Up to 16 rows of activations a
// thread has 4 of them, whose reads take 80 cycles to 64 of multiply-adds; but memory decides there.
//
// A block multiplies 64 rows of weights with 16 or 32 of activations, slab by slab of the lanes' next pieces, in shared
// memory as f32; what the next slab needs is on its way in registers meanwhile. Half a warp reads and writes 16 pieces
// side by side, so that no two of them want the same bank at a time. At 64 by 32 the caches bring 64 * (2..4) + 32 * 4
// bytes a column, 16 to 24 for each cycle of 128 multiply-adds. Blocks side by side in the grid share rows of weights,
// for these to come from memory once.
#pragma once

#include "products.h"

namespace thermocline::cuda {

inline constexpr unsigned kFloatGemmThreads = 256;
inline constexpr unsigned kFloatGemmRows = 64;   // of weights, a block
inline constexpr unsigned kFloatGemmGroups = 4;  // of rows of weights in a block, and of rows of activations
inline constexpr unsigned kThreadRows = kFloatGemmRows / kFloatGemmGroups;
static_assert(kFloatGemmGroups * kFloatGemmGroups * kFloatLanes == kFloatGemmThreads);
static_assert(kThreadRows == kFloatLanes, "each lane ends with one row");

// A block's slab: [row][quad][lane], pieces of four of a lane's columns, of weights and then of activations.
template <WeightType Type, unsigned X>
struct FloatSlab {
  static constexpr unsigned kLanes = kFloatLanes;
  static constexpr unsigned kTurns = kPieceBytes / float_bytes(Type), kQuads = kTurns / 4;
  static constexpr unsigned kCols = kTurns * kLanes;
  static constexpr unsigned kRowPieces = kQuads * kLanes;
  static constexpr size_t kBytes = (kFloatGemmRows + X) * kRowPieces * sizeof(FourFloats);
  static_assert(kBytes <= 48 << 10, "more needs an attribute of the kernel");
  // Rows that a block's threads bring at once, and how often they do.
  static constexpr unsigned kAtOnce = kFloatGemmThreads / kLanes;
  static constexpr unsigned kWeightPasses = kFloatGemmRows / kAtOnce, kXPasses = X / kAtOnce;

  FourFloats* memory;

  THERMOCLINE_DEVICE FourFloats* weights(unsigned row, unsigned quad) const {
    return memory + row * kRowPieces + quad * kLanes;
  }
  THERMOCLINE_DEVICE FourFloats* x(unsigned j, unsigned quad) const { return weights(kFloatGemmRows + j, quad); }
};

// What a thread brings of a slab: one lane's columns of some rows.
template <WeightType Type, unsigned X>
struct FloatSlabPart {
  using Slab = FloatSlab<Type, X>;

  Piece weights[Slab::kWeightPasses]{};
  FourFloats x[Slab::kXPasses][Slab::kQuads]{};

  THERMOCLINE_DEVICE static unsigned lane() { return thread_index() % Slab::kLanes; }
  THERMOCLINE_DEVICE static unsigned row(unsigned pass) {
    return pass * Slab::kAtOnce + thread_index() / Slab::kLanes;
  }

  // From the block's first rows on, of which there are `count` of weights and `rows` of activations; others stay 0.
  // Missing columns of the last sixteen add 0, as in products.h, and those behind them -0, which changes no sum: the
  // weights are 0 there (card_rows.h).
  THERMOCLINE_DEVICE void load(const std::byte* first_row, unsigned count, size_t row_bytes, const float* first_x,
                               unsigned rows, unsigned x_stride, unsigned slab, unsigned cols) {
    const std::byte* weights_from = first_row + row(0) * row_bytes + (slab * Slab::kLanes + lane()) * kPieceBytes;
    THERMOCLINE_UNROLL for (unsigned pass = 0; pass < Slab::kWeightPasses; ++pass) {
      if (row(pass) >= count) continue;
      weights[pass] = *reinterpret_cast<const Piece*>(weights_from + pass * (Slab::kAtOnce * row_bytes));
    }
    const unsigned first = slab * Slab::kCols + lane();
    const float* x_from = first_x + size_t{row(0)} * x_stride + first;
    THERMOCLINE_UNROLL for (unsigned pass = 0; pass < Slab::kXPasses; ++pass) {
      if (row(pass) >= rows) continue;
      THERMOCLINE_UNROLL for (unsigned turn = 0; turn < Slab::kTurns; ++turn) {
        const unsigned column = turn * Slab::kLanes;
        float& value = x[pass][turn / 4].values[turn % 4];
        value = slab * Slab::kCols + column < cols ? 0.0f : -0.0f;
        if (first + column < cols) value = x_from[size_t{pass * Slab::kAtOnce} * x_stride + column];
      }
    }
  }
  THERMOCLINE_DEVICE void store(const Slab& to) const {
    THERMOCLINE_UNROLL for (unsigned q = 0; q < Slab::kQuads; ++q) {
      THERMOCLINE_UNROLL for (unsigned pass = 0; pass < Slab::kWeightPasses; ++pass) {
        FourFloats four;
        for (unsigned i = 0; i < 4; ++i) four.values[i] = float_at(weights[pass], 4 * q + i, Type);
        to.weights(row(pass), q)[lane()] = four;
      }
      THERMOCLINE_UNROLL for (unsigned pass = 0; pass < Slab::kXPasses; ++pass) to.x(row(pass), q)[lane()] = x[pass][q];
    }
  }
};

// A lane's sums of its columns' products.
template <unsigned X>
struct LaneSums {
  static constexpr unsigned kThreadX = X / kFloatGemmGroups;

  float sums[kThreadRows][kThreadX] = {};

  // `weights` and `x` are the lane's pieces of the first rows, `stride` pieces from row to row.
  template <unsigned Stride>
  THERMOCLINE_DEVICE void add(const FourFloats* weights, const FourFloats* x) {
    FourFloats xs[kThreadX];
    THERMOCLINE_UNROLL for (unsigned j = 0; j < kThreadX; ++j) xs[j] = x[j * Stride];
    THERMOCLINE_UNROLL for (unsigned r = 0; r < kThreadRows; ++r) {
      const FourFloats four = weights[r * Stride];
      THERMOCLINE_UNROLL for (unsigned i = 0; i < 4; ++i) {
        THERMOCLINE_UNROLL for (unsigned j = 0; j < kThreadX; ++j) {
          sums[r][j] = fmaf(four.values[i], xs[j].values[i], sums[r][j]);
        }
      }
    }
  }

  // Adds up the lanes as kernels.h says, for lane l to have row l's products in sums[0]: those with half of the rows go
  // to the lane across, for what it has of the other half. Every lane of a warp must call it.
  THERMOCLINE_DEVICE void halve() {
    const unsigned lane = lane_index();
    THERMOCLINE_UNROLL for (unsigned distance = kThreadRows / 2; distance > 0; distance /= 2) {
      const bool upper = (lane & distance) != 0;
      THERMOCLINE_UNROLL for (unsigned r = 0; r < kThreadRows / 2; ++r) {
        if (r >= distance) continue;
        THERMOCLINE_UNROLL for (unsigned j = 0; j < kThreadX; ++j) {
          const float mine = upper ? sums[r + distance][j] : sums[r][j];
          const float others = upper ? sums[r][j] : sums[r + distance][j];
          sums[r][j] = mine + from_lane(others, lane ^ distance);
        }
      }
    }
  }
};

template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL_OF(kFloatGemmThreads, 1)
void float_gemm(CardMatrix matrix, const float* x, unsigned rows, unsigned x_stride, float* y, unsigned y_stride) {
  using Slab = FloatSlab<Type, X>;
  const Slab memory{reinterpret_cast<FourFloats*>(shared_memory())};
  const size_t row_bytes = card_row_bytes(Type, matrix.cols);
  const unsigned slabs = (matrix.cols + Slab::kCols - 1) / Slab::kCols;
  const unsigned first_x = block_index().x * X, first_row = block_index().y * kFloatGemmRows;
  const std::byte* weights_of_block = matrix.rows + first_row * row_bytes;
  const float* x_of_block = x + size_t{first_x} * x_stride;
  FloatSlabPart<Type, X> part;
  const auto load = [&](unsigned slab) {
    part.load(weights_of_block, matrix.count - first_row, row_bytes, x_of_block, rows - first_x, x_stride, slab,
              matrix.cols);
  };

  // A warp's halves have rows of weights side by side, and the same activations.
  const unsigned lane = lane_index() % Slab::kLanes, group = thread_index() / Slab::kLanes;
  const unsigned my_row = group % kFloatGemmGroups * kThreadRows;
  const unsigned my_x = group / kFloatGemmGroups * LaneSums<X>::kThreadX;
  const unsigned row_of_warp = my_row / (2 * kThreadRows) * (2 * kThreadRows);
  const bool needed = first_row + row_of_warp < matrix.count && first_x + my_x < rows;
  LaneSums<X> sums;
  load(0);
  for (unsigned slab = 0; slab < slabs; ++slab) {
    part.store(memory);
    sync_threads();
    if (slab + 1 < slabs) load(slab + 1);
    if (needed) {
      THERMOCLINE_UNROLL for (unsigned q = 0; q < Slab::kQuads; ++q) {
        sums.template add<Slab::kRowPieces>(memory.weights(my_row, q) + lane, memory.x(my_x, q) + lane);
      }
    }
    sync_threads();
  }
  if (!needed) return;
  sums.halve();
  const unsigned r = first_row + my_row + lane;
  if (r >= matrix.count) return;
  THERMOCLINE_UNROLL for (unsigned j = 0; j < LaneSums<X>::kThreadX; ++j) {
    if (first_x + my_x + j < rows) y[size_t{first_x + my_x + j} * y_stride + r] = sums.sums[0][j];
  }
}

// `rows` rows of activations, x_stride floats apart; y [rows][y_stride].
template <WeightType Type>
void multiply_many_floats(Stream stream, const CardMatrix& matrix, const float* x, unsigned rows, unsigned x_stride,
                          float* y, unsigned y_stride) {
  const auto with = [&]<unsigned X>() {
    const Launch shape{{(rows + X - 1) / X, (matrix.count + kFloatGemmRows - 1) / kFloatGemmRows},
                       kFloatGemmThreads, FloatSlab<Type, X>::kBytes};
    launch(stream, float_gemm<Type, X>, shape, matrix, x, rows, x_stride, y, y_stride);
  };
  if (rows <= 16) with.template operator()<16>();
  else with.template operator()<32>();
}

}  // namespace thermocline::cuda
