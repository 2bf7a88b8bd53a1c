// y[j][r] = row r of a quantized matrix · x[j] for many rows of activations, with tensor cores: the bits of gemv.h where
// y are floats; where they are doubles, what down_by_output.h gives.
//
// A product is the sum of its sub-blocks' terms, one after the other, and a term an exact integer times scales
// (terms.h). One step of a tensor core gives such integers for 16 rows of activations and 8 of weights, four in a lane,
// and each is scaled and added to its sum in f32. That is the larger part of the work: three operations a term without
// a minimum, twelve of a step's 23 instructions. So the integer leaves the tensor core as a float, and costs no
// conversion.
//
// A block multiplies 64 rows of weights with 16, 32 or 64 of activations, slab by slab of 256 columns, in shared
// memory; what the next slab needs is on its way in registers meanwhile. At 64 by 64 the caches bring
// 64 * (18..34 + 40) bytes a sub-block, 58 to 74 cycles at 64 bytes a cycle, while the eight warps have 32 steps to do,
// 180 cycles of four instructions. Blocks side by side in the grid share rows of weights, for these to come from memory
// once.
#pragma once

#include <type_traits>

#include "tensor_core.h"
#include "weight_slabs.h"
#include "wide_sum.h"

namespace thermocline::cuda {

inline constexpr unsigned kGemmThreads = 256;
inline constexpr unsigned kGemmRows = kGemmThreads / kSlabParts;  // of weights, a block
inline constexpr unsigned kStepX = 16, kStepRows = 8;             // of a tensor core's step

// 1.5 * 2^23: up to 2^22 more or less are the same more or less in the float's bits. Integers here are below 2^19.
inline constexpr float kBias = 0x1.8p23f;
inline constexpr int kBiasBits = 0x4b400000;

// Two words of a Q8Activation, of which it is five: scale and sums, then the quants.
struct alignas(8) ActivationUnit {
  uint32_t words[2];
};
inline constexpr unsigned kUnits = sizeof(Q8Activation) / sizeof(ActivationUnit);
static_assert(sizeof(Q8Activation) == kUnits * sizeof(ActivationUnit));

// Shared memory of a block. Eight rows of weights or activations, a lane's four bytes side by side, lie in different
// banks: rows are 4 words more than a multiple of 8 apart, and so at 8 different multiples of 4 of the 32 banks.
template <WeightType Type, unsigned Tiles>
struct GemmMemory {
  static constexpr unsigned kX = kStepX * Tiles;  // rows of activations
  static constexpr unsigned kRowWords = kSlabSubs * 8 + 4, kXWords = kSlabSubs * kUnits * 2 + 4;
  static constexpr unsigned kScaleWords = kSlabSubs * kGemmRows;
  static constexpr size_t kBytes =
      (kGemmRows * kRowWords + kSubScales<Type> * kScaleWords + kX * kXWords) * sizeof(uint32_t);
  static_assert(kBytes <= 48 << 10, "more needs an attribute of the kernel");

  uint32_t* memory;

  THERMOCLINE_DEVICE uint32_t* row(unsigned r, unsigned sub) const { return memory + r * kRowWords + sub * 8; }
  THERMOCLINE_DEVICE float* scales(unsigned which, unsigned sub) const {
    return reinterpret_cast<float*>(memory + kGemmRows * kRowWords + which * kScaleWords + sub * kGemmRows);
  }
  THERMOCLINE_DEVICE uint32_t* x(unsigned j, unsigned sub) const {
    return memory + kGemmRows * kRowWords + kSubScales<Type> * kScaleWords + j * kXWords + sub * kUnits * 2;
  }
};

THERMOCLINE_DEVICE unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

// What a thread brings of a slab of activations: every eighth unit of a row, or of two.
template <WeightType Type, unsigned Tiles>
struct ActivationsPart {
  static constexpr unsigned kThreads = 8, kRowsAtOnce = kGemmThreads / kThreads;
  static constexpr unsigned kX = GemmMemory<Type, Tiles>::kX, kPasses = (kX + kRowsAtOnce - 1) / kRowsAtOnce;

  ActivationUnit units[kPasses][kUnits]{};

  // Calls use(pass, row of the tile, which of the thread's units, its index in the slab's row).
  template <class Use>
  THERMOCLINE_DEVICE static void for_each(const Use& use) {
    for (unsigned pass = 0; pass < kPasses; ++pass) {
      const unsigned j = pass * kRowsAtOnce + thread_index() / kThreads;
      if (j >= kX) break;
      for (unsigned u = 0; u < kUnits; ++u) use(pass, j, u, u * kThreads + thread_index() % kThreads);
    }
  }
  // `x` is the slab's first block of the tile's first row; of `rows` rows the last stands in for what is missing.
  THERMOCLINE_DEVICE void load(const Q8Activation* x, unsigned x_stride, unsigned rows, unsigned subs) {
    for_each([&](unsigned pass, unsigned j, unsigned u, unsigned index) {
      if (index >= subs * kUnits) return;
      units[pass][u] = reinterpret_cast<const ActivationUnit*>(x + size_t{least(j, rows - 1)} * x_stride)[index];
    });
  }
  THERMOCLINE_DEVICE void store(const GemmMemory<Type, Tiles>& to) const {
    for_each([&](unsigned pass, unsigned j, unsigned u, unsigned index) {
      ActivationUnit unit = units[pass][u];
      if (kHasMinimum<Type> && index % kUnits == 0) {
        const uint32_t sums = unit.words[1];
        const int sum = static_cast<int16_t>(sums & 0xffff) + static_cast<int16_t>(sums >> 16);
        unit.words[1] = bits_of(static_cast<float>(sum));
      }
      reinterpret_cast<ActivationUnit*>(to.x(j, 0))[index] = unit;
    });
  }
};

// Of a step, in a lane: two rows of activations, g and g + 8, and two of weights, 2t and 2t + 1.
template <WeightType Type>
struct GemmStep {
  uint32_t x_quants[4];
  float x_scale[2], x_sum[2];

  template <unsigned Tiles>
  THERMOCLINE_DEVICE GemmStep(const GemmMemory<Type, Tiles>& from, unsigned first_x, unsigned sub) {
    for (unsigned i = 0; i < 2; ++i) {
      const uint32_t* words = from.x(first_x + lane_index() / 4 + 8 * i, sub);
      x_scale[i] = float_of(words[0]);
      x_sum[i] = float_of(words[1]);
      x_quants[i] = words[2 + lane_index() % 4];
      x_quants[2 + i] = words[6 + lane_index() % 4];
    }
  }

  // Adds a sub-block's terms: sums[2i + k] is of activations i and weights k.
  template <unsigned Tiles, class Sum>
  THERMOCLINE_DEVICE void add(const GemmMemory<Type, Tiles>& from, unsigned first_row, unsigned sub,
                              Sum (&sums)[4]) const {
    const unsigned t = lane_index() % 4;
    const uint32_t* words = from.row(first_row + lane_index() / 4, sub);
    const uint32_t quants[2] = {words[t], words[4 + t]};
    float scales[kSubScales<Type>][2];
    for (unsigned s = 0; s < kSubScales<Type>; ++s) {
      for (unsigned k = 0; k < 2; ++k) scales[s][k] = from.scales(s, sub)[first_row + 2 * t + k];
    }
    if constexpr (kHasHalves<Type>) {
      int first[4], last[4];
      multiply_tile({x_quants[0], x_quants[1]}, quants[0], kBiasBits, first);
      multiply_tile({x_quants[2], x_quants[3]}, quants[1], kBiasBits, last);
      for (unsigned e = 0; e < 4; ++e) {
        const float total = scaled(first[e], scales[1][e % 2]) + scaled(last[e], scales[2][e % 2]);
        sums[e].add(x_scale[e / 2] * (scales[0][e % 2] * total));
      }
    } else {
      int both[4];
      multiply_tile(x_quants, quants, kBiasBits, both);
      for (unsigned e = 0; e < 4; ++e) {
        float value = scaled(both[e], scales[0][e % 2]);
        if constexpr (kHasMinimum<Type>) value -= scales[1][e % 2] * x_sum[e / 2];
        sums[e].add(x_scale[e / 2] * value);
      }
    }
  }

 private:
  // scale * integer, rounded once, for scale * kBias is exact; of an infinite scale nothing but NaNs.
  THERMOCLINE_DEVICE static float scaled(int biased, float scale) {
    return fmaf(float_of(static_cast<uint32_t>(biased)), scale, -kBias * scale);
  }
};

// row · x, term by term, of the blocks that have a bit in `nonzero`, a word a sub-block; of all where that is null.
template <class Sum, WeightType Type>
THERMOCLINE_DEVICE auto plain_product(const RowOfBlocks<Type>& row, const Q8Activation* x, const uint32_t* nonzero) {
  Sum sum;
  for (unsigned block = 0; block < row.blocks; ++block) {
    uint32_t any = nonzero == nullptr;
    for (unsigned s = 0; s < row.kSubs && nonzero != nullptr; ++s) any |= nonzero[block * row.kSubs + s];
    for (unsigned s = 0; s < row.kSubs && any != 0; ++s) {
      sum.add(term<Type>(row, block * row.kSubs + s, x[block * row.kSubs + s]));
    }
  }
  return sum.value();
}

// `nonzero` [rows][x_stride], or null.
template <WeightType Type, unsigned Tiles, class Out>
THERMOCLINE_KERNEL_OF(kGemmThreads, 2)
void gemm(CardMatrix matrix, const Q8Activation* x, const uint32_t* nonzero, unsigned rows, unsigned x_stride, Out* y,
          unsigned y_stride) {
  using Sum = std::conditional_t<std::is_same_v<Out, float>, SumIn<float>, WideSum>;
  using Row = RowOfBlocks<Type>;
  const GemmMemory<Type, Tiles> memory{reinterpret_cast<uint32_t*>(shared_memory())};
  const size_t row_bytes = card_row_bytes(Type, matrix.cols);
  const unsigned blocks = matrix.cols / static_cast<unsigned>(Row::kFormat.elements);
  const unsigned subs = blocks * Row::kSubs, slabs = (subs + kSlabSubs - 1) / kSlabSubs;
  const unsigned x_of_block = block_index().x * memory.kX, rows_of_block = block_index().y * kGemmRows;

  // The last row stands in for those that are missing.
  const unsigned brought = thread_index() / kSlabParts, part = thread_index() % kSlabParts;
  const Row row{matrix.rows + least(rows_of_block + brought, matrix.count - 1) * row_bytes, blocks};
  SlabPart<Type> weights;
  ActivationsPart<Type, Tiles> activations;
  const auto load = [&](unsigned slab) {
    weights.load(row, slab, part);
    activations.load(x + size_t{x_of_block} * x_stride + slab * kSlabSubs, x_stride, rows - x_of_block,
                     least(subs - slab * kSlabSubs, kSlabSubs));
  };

  // Warps take turns at the rows of activations, 16 each, and share out those of weights.
  const unsigned warp = thread_index() / kWarp;
  const unsigned first_x = warp % Tiles * kStepX, first_row = warp / Tiles * Tiles * kStepRows;
  Sum sums[Tiles][4];
  load(0);
  for (unsigned slab = 0; slab < slabs; ++slab) {
    for (unsigned i = 0; i < 2; ++i) {
      const unsigned sub = weights.sub(part, i);
      for (unsigned half = 0; half < 2; ++half) {
        reinterpret_cast<Piece*>(memory.row(brought, sub))[half] = weights.quants(part, i, half);
      }
      float scales[kSubScales<Type>];
      weights.scales(part, i, scales);
      for (unsigned s = 0; s < kSubScales<Type>; ++s) memory.scales(s, sub)[brought] = scales[s];
    }
    activations.store(memory);
    sync_threads();
    if (slab + 1 < slabs) load(slab + 1);
    if (x_of_block + first_x < rows) {
      const unsigned count = least(subs - slab * kSlabSubs, kSlabSubs);
      for (unsigned sub = 0; sub < count; ++sub) {
        const GemmStep<Type> step(memory, first_x, sub);
        for (unsigned n = 0; n < Tiles; ++n) step.add(memory, first_row + n * kStepRows, sub, sums[n]);
      }
    }
    sync_threads();
  }

  const auto for_each_sum = [&](const auto& use) {
    for (unsigned n = 0; n < Tiles; ++n) {
      for (unsigned e = 0; e < 4; ++e) {
        const unsigned j = x_of_block + first_x + lane_index() / 4 + e / 2 * 8;
        const unsigned r = rows_of_block + first_row + n * kStepRows + lane_index() % 4 * 2 + e % 2;
        if (j < rows && r < matrix.count) use(sums[n][e], j, r);
      }
    }
  };
  bool all_known = true;
  for_each_sum([&](const Sum& sum, unsigned j, unsigned r) {
    const Out value = sum.value();
    all_known &= sum.known() && value == value;
    y[size_t{j} * y_stride + r] = value;
  });
  // Of infinite scales, perhaps. Then the products are computed once more, term by term.
  if (all_known) return;
  for_each_sum([&](const Sum&, unsigned j, unsigned r) {
    y[size_t{j} * y_stride + r] = plain_product<SumIn<Out>>(
        Row{matrix.rows + r * row_bytes, blocks}, x + size_t{j} * x_stride,
        nonzero == nullptr ? nullptr : nonzero + size_t{j} * x_stride);
  });
}

// `rows` rows of activations, x_stride blocks apart; y [rows][y_stride], floats or doubles. x is at a multiple of 8 bytes.
// `nonzero` [rows][x_stride] leaves out blocks of weights where all activations are 0, as if they were not there.
template <WeightType Type, class Out>
void multiply_many(Stream stream, const CardMatrix& matrix, const Q8Activation* x, unsigned rows, unsigned x_stride,
                   Out* y, unsigned y_stride, const uint32_t* nonzero = nullptr) {
  const auto with = [&]<unsigned Tiles>() {
    using Memory = GemmMemory<Type, Tiles>;
    const Launch shape{{(rows + Memory::kX - 1) / Memory::kX, (matrix.count + kGemmRows - 1) / kGemmRows},
                       kGemmThreads, Memory::kBytes};
    launch(stream, gemm<Type, Tiles, Out>, shape, matrix, x, nonzero, rows, x_stride, y, y_stride);
  };
  // Three floats a sum of 64 rows would not fit the registers.
  constexpr unsigned kMostTiles = std::is_same_v<Out, float> ? 4 : 2;
  if (rows <= kStepX) with.template operator()<1>();
  else if (rows <= 2 * kStepX) with.template operator()<2>();
  else with.template operator()<kMostTiles>();
}

}  // namespace thermocline::cuda
