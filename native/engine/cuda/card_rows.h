// How rows of weights lie on the card: so that the lanes of a warp read pieces of 16 bytes side by side.
//
// Quantized: the row's blocks are taken apart into pieces of 16 bytes, and all blocks' first pieces lie together, then
// all second ones (a plane each); f16 scales that fit no piece come last. A Q4_0 block is a piece of quants and a scale,
// a Q8_0 block two pieces and a scale; K-quants' blocks of 256 are 9 (Q4_K), 11 (Q5_K) and 13 (Q6_K) pieces, of which
// Q6_K's has a scale beside them.
//
// Floats: lane i of sixteen takes the columns i, i + 16, ..., as sums of floats are defined (kernels.h), and a piece holds
// what one lane takes next: 4 columns of F32, 8 of F16 and BF16. Missing columns are 0.
#pragma once

#include <cstddef>

#include "../../kernels/blocks.h"

namespace thermocline::cuda {

inline constexpr size_t kPieceBytes = 16;

constexpr size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// A block format's pieces.
struct CardBlock {
  size_t elements, bytes;
  size_t pieces;         // of 16 bytes
  size_t pieces_at;      // the first one's place in the file's block
  size_t scale_at;       // of the f16 beside the pieces; only where has_scale
  bool has_scale;
};

constexpr CardBlock card_block(WeightType type) {
  switch (type) {
    case WeightType::q8_0: return {kBlock, kQ8_0BlockBytes, 2, kWeightQuants, 0, true};
    case WeightType::q4_0: return {kBlock, kQ4_0BlockBytes, 1, kWeightQuants, 0, true};
    case WeightType::q4_k: return {kSuperBlock, kQ4_KBlockBytes, kQ4_KBlockBytes / kPieceBytes, 0, 0, false};
    case WeightType::q5_k: return {kSuperBlock, kQ5_KBlockBytes, kQ5_KBlockBytes / kPieceBytes, 0, 0, false};
    case WeightType::q6_k: return {kSuperBlock, kQ6_KBlockBytes, kQ6_KScale / kPieceBytes, 0, kQ6_KScale, true};
    case WeightType::f32:
    case WeightType::f16:
    case WeightType::bf16: break;
  }
  return {};
}

constexpr size_t float_bytes(WeightType type) { return type == WeightType::f32 ? 4 : 2; }

// Bytes of a row on the card, a multiple of 16.
constexpr size_t card_row_bytes(WeightType type, size_t cols) {
  const CardBlock block = card_block(type);
  if (block.elements == 0) return round_up(cols, kFloatLanes * kPieceBytes / float_bytes(type)) * float_bytes(type);
  const size_t blocks = cols / block.elements;
  const size_t scales = block.has_scale ? round_up(blocks * sizeof(uint16_t), kPieceBytes) : 0;
  return blocks * block.pieces * kPieceBytes + scales;
}

// A matrix on the card: rows of card_row_bytes(type, cols) bytes.
struct CardMatrix {
  const std::byte* rows;
  WeightType type;
  unsigned count, cols;
};

// A norm's floats on the card, at multiples of 16; null for none.
struct CardNorm {
  const float* weight;
  const float* bias;
};

// Rearranges a row as GGUF stores it.
void to_card_row(WeightType type, const std::byte* row, size_t cols, std::byte* card);

}  // namespace thermocline::cuda
