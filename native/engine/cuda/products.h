// Dequantizing matrix-vector products: a warp multiplies a row of weights with a tile of rows of activations, and gives
// the bits that the CPU's kernels give.
#pragma once

#include "terms.h"

namespace thermocline::cuda {

// Turns of a warp, 32 terms each for X rows, whose weights are on their way at a time: for one row 2 KiB of Q4_0, of
// which a card needs some 7 KiB in every multiprocessor.
constexpr unsigned turns_of(unsigned x) { return x <= 2 ? 4 : 2; }

// From the terms of one row of activations to the next one's, in another bank of shared memory.
constexpr unsigned terms_stride(unsigned x) { return turns_of(x) * kWarp + 1; }

// Shared memory a warp needs for X rows of activations.
constexpr size_t product_bytes(unsigned x) { return size_t{x} * terms_stride(x) * sizeof(float); }

// Some turns' terms into shared memory, terms[j][turn][lane]. Those behind the row's end are anything.
template <unsigned Turns, WeightType Type, unsigned X>
THERMOCLINE_DEVICE void put_terms(const RowOfBlocks<Type>& row, unsigned first, unsigned subs, const Q8Activation* x,
                                  unsigned x_stride, float* terms) {
  float values[Turns][X];
  THERMOCLINE_UNROLL for (unsigned t = 0; t < Turns; ++t) {
    const unsigned mine = first + t * kWarp + lane_index(), sub = mine < subs ? mine : subs - 1;
    THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) values[t][j] = term<Type>(row, sub, x[j * x_stride + sub]);
  }
  THERMOCLINE_UNROLL for (unsigned t = 0; t < Turns; ++t) {
    for (unsigned j = 0; j < X; ++j) terms[j * terms_stride(X) + t * kWarp + lane_index()] = values[t][j];
  }
}

// sums[j] = row · x[j], the sum of its blocks' terms, one after the other: the lanes compute 32 terms a turn, and the
// j-th of them adds up those of x[j]. Every lane must call it; lane j < X has the result. `terms` is the warp's.
template <WeightType Type, unsigned X>
THERMOCLINE_DEVICE float block_product(const std::byte* row, unsigned cols, const Q8Activation* x, unsigned x_stride,
                                       float* terms) {
  constexpr unsigned kTurns = turns_of(X);
  const RowOfBlocks<Type> weights{row, cols / static_cast<unsigned>(RowOfBlocks<Type>::kFormat.elements)};
  const unsigned subs = cols / static_cast<unsigned>(kBlock);
  const unsigned lane = lane_index();
  float sum = 0;
  for (unsigned first = 0; first < subs;) {
    const bool whole = subs - first >= kTurns * kWarp;
    if (whole) {
      put_terms<kTurns, Type, X>(weights, first, subs, x, x_stride, terms);
    } else {
      put_terms<1, Type, X>(weights, first, subs, x, x_stride, terms);
    }
    const unsigned turns = (whole ? kTurns : 1) * kWarp, count = subs - first < turns ? subs - first : turns;
    sync_warp();
    if (lane < X) {
      for (unsigned i = 0; i < count; ++i) sum += terms[lane * terms_stride(X) + i];
    }
    sync_warp();
    first += count;
  }
  return sum;
}

// The `index`-th float of a word, which holds one or two.
THERMOCLINE_DEVICE float float_in(uint32_t word, unsigned index, WeightType type) {
  if (type == WeightType::f32) return float_of(word);
  const uint16_t bits = static_cast<uint16_t>(word >> index * 16);
  return type == WeightType::f16 ? half_to_float(bits) : float_of(uint32_t{bits} << 16);
}

// Of a piece, or of half of one.
template <class Part>
THERMOCLINE_DEVICE float float_at(const Part& part, unsigned index, WeightType type) {
  const unsigned in_word = sizeof(uint32_t) / float_bytes(type);
  return float_in(part.words[index / in_word], index % in_word, type);
}

// The same for floats: sixteen lanes' sums of fused multiply-adds, halved four times (kernels.h). A rest that does not
// reach all lanes adds 0 in the others, which makes 0 of a -0 there. The warp's two halves take a row of weights each:
// `row` is this half's. Lane 0 of a half has the results.
template <WeightType Type, unsigned X>
THERMOCLINE_DEVICE void float_product(const std::byte* row, unsigned cols, const float* x, unsigned x_stride,
                                      float* sums) {
  constexpr unsigned kInPiece = kPieceBytes / float_bytes(Type);
  const unsigned lane = lane_index() % kFloatLanes;
  const Piece* pieces = reinterpret_cast<const Piece*>(row) + lane;
  for (unsigned j = 0; j < X; ++j) sums[j] = 0;
  for (unsigned c = lane; c - lane < cols; c += kInPiece * kFloatLanes, pieces += kFloatLanes) {
    const Piece piece = read_once(pieces);
    THERMOCLINE_UNROLL for (unsigned i = 0; i < kInPiece; ++i) {
      const unsigned column = c + i * kFloatLanes;
      if (column - lane >= cols) break;
      const float weight = float_at(piece, i, Type);
      THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
        sums[j] = fmaf(weight, column < cols ? x[j * x_stride + column] : 0, sums[j]);
      }
    }
  }
  for (unsigned half = kFloatLanes / 2; half > 0; half /= 2) {
    for (unsigned j = 0; j < X; ++j) sums[j] += from_lane(sums[j], lane_index() + half);
  }
}

}  // namespace thermocline::cuda
