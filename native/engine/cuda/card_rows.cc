#include "card_rows.h"

#include <cstring>

namespace thermocline::cuda {
namespace {

void blocks_to_card(const CardBlock& block, const std::byte* row, size_t blocks, std::byte* card) {
  std::byte* scales = card + blocks * block.pieces * kPieceBytes;
  for (size_t b = 0; b < blocks; ++b, row += block.bytes) {
    for (size_t p = 0; p < block.pieces; ++p) {
      std::memcpy(card + (p * blocks + b) * kPieceBytes, row + block.pieces_at + p * kPieceBytes, kPieceBytes);
    }
    if (block.has_scale) std::memcpy(scales + b * sizeof(uint16_t), row + block.scale_at, sizeof(uint16_t));
  }
}

void floats_to_card(size_t bytes, const std::byte* row, size_t cols, std::byte* card) {
  const size_t in_piece = kPieceBytes / bytes;
  for (size_t c = 0; c < cols; ++c) {
    const size_t lane = c % kFloatLanes, turn = c / kFloatLanes;
    const size_t piece = turn / in_piece * kFloatLanes + lane;
    std::memcpy(card + piece * kPieceBytes + turn % in_piece * bytes, row + c * bytes, bytes);
  }
}

}  // namespace

void to_card_row(WeightType type, const std::byte* row, size_t cols, std::byte* card) {
  std::memset(card, 0, card_row_bytes(type, cols));
  const CardBlock block = card_block(type);
  if (block.elements == 0) return floats_to_card(float_bytes(type), row, cols, card);
  blocks_to_card(block, row, cols / block.elements, card);
}

}  // namespace thermocline::cuda
