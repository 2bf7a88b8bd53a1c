// Sums of down rows, one a neuron, scaled by the hidden values of a tile of rows.
#pragma once

#include "down_gemm.h"
#include "elements.h"
#include "gemv.h"

namespace thermocline::cuda {

// Of floats: a product is rounded to f32, and added in f64.
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void sum_float_rows(CardMatrix down, TileNeurons tile, Segments segments, double* partial,
                                       NeuronCounts* counts) {
  constexpr unsigned kInPiece = kPieceBytes / float_bytes(Type);
  constexpr unsigned kNeurons = 4;  // whose pieces are on their way at a time
  uint32_t* list = reinterpret_cast<uint32_t*>(shared_memory()) + 1;
  list_nonzero<X>(tile, block_index().y * segments.each, segments.each, list, list - 1);
  const unsigned length = list[-1];
  if (block_index().x == 0 && thread_index() == 0) add_atomically(&counts->downs, length);

  const size_t row_bytes = card_row_bytes(Type, down.cols);
  const unsigned at = element_index();
  if (at >= row_bytes / kPieceBytes) return;
  double sums[X][kInPiece] = {};
  for (unsigned first = 0; first < length; first += kNeurons) {
    Piece pieces[kNeurons] = {};
    THERMOCLINE_UNROLL for (unsigned n = 0; n < kNeurons; ++n) {
      if (first + n >= length) continue;
      pieces[n] = read_once(reinterpret_cast<const Piece*>(down.rows + list[first + n] * row_bytes) + at);
    }
    THERMOCLINE_UNROLL for (unsigned n = 0; n < kNeurons; ++n) {
      if (first + n >= length) continue;
      THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
        const float value = tile.hidden[size_t{j} * tile.stride + list[first + n]];
        if (value == 0) continue;
        for (unsigned i = 0; i < kInPiece; ++i) sums[j][i] += value * float_at(pieces[n], i, Type);
      }
    }
  }
  partial += size_t{block_index().y} * X * down.cols;
  for (unsigned i = 0; i < kInPiece; ++i) {
    const unsigned lane = at % kFloatLanes, column = (at / kFloatLanes * kInPiece + i) * kFloatLanes + lane;
    if (column >= down.cols) continue;
    for (unsigned j = 0; j < X; ++j) partial[size_t{j} * down.cols + column] = sums[j][i];
  }
}

THERMOCLINE_KERNEL void add_segments(const double* partial, unsigned segments, unsigned elements, double* out) {
  const unsigned i = element_index();
  if (i >= elements) return;
  double sum = 0;
  for (unsigned s = 0; s < segments; ++s) sum += partial[size_t{s} * elements + i];
  out[i] = sum;
}

// out[j][embd] for the X rows of the tile. `partial` has room for partial_sums().
template <unsigned X>
void sum_down_by_neuron(Stream stream, const CardMatrix& down, const TileNeurons& tile, double* partial, double* out,
                        NeuronCounts* counts) {
  const Segments segments = Segments::of(down.count);
  for_type(down.type, [&]<WeightType Type>() {
    const auto pieces_in = [&](unsigned pieces_of_block, unsigned pieces) {
      return Extent{(pieces + pieces_of_block - 1) / pieces_of_block, segments.count};
    };
    if constexpr (kIsFloat<Type>) {
      constexpr unsigned kThreads = 128;
      const auto pieces = static_cast<unsigned>(card_row_bytes(Type, down.cols) / kPieceBytes);
      launch(stream, sum_float_rows<Type, X>,
             {pieces_in(kThreads, pieces), kThreads, (1 + segments.each) * sizeof(uint32_t)}, down, tile, segments,
             partial, counts);
    } else {
      const unsigned pieces = down.cols / static_cast<unsigned>(card_block(Type).elements) * QuantPiece<Type>::kPieces;
      launch(stream, sum_quantized_rows<Type, X>,
             {pieces_in(kPiecesOfBlock, pieces), kSumWarps * kWarp, IntegerSums<Type, X>::shared_bytes(segments)},
             down, tile, segments, partial, counts);
    }
  });
  launch(stream, add_segments, by_element(X * down.cols), static_cast<const double*>(partial), segments.count,
         X * down.cols, out);
}

// The same for up to kManyRows rows at once, of quantized weights, where all neurons are read. `partial` has room for
// partial_sums_of_many().
inline void sum_down_of_many_by_neuron(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
                                       double* partial, double* out) {
  const Segments segments = Segments::of_many(down.count);
  for_type(down.type, [&]<WeightType Type>() {
    if constexpr (!kIsFloat<Type>) {
      using Gemm = DownGemm<Type>;
      const unsigned columns = (down.cols + Gemm::kColumnsOfBlock - 1) / Gemm::kColumnsOfBlock;
      const Extent grid{Gemm::row_tiles(rows) * columns, segments.count};
      launch(stream, down_gemm<Type>, {grid, kDownWarps * kWarp, Gemm::kSharedBytes}, down, tile, rows, segments,
             partial);
    }
  });
  launch(stream, add_segments, by_element(rows * down.cols), static_cast<const double*>(partial), segments.count,
         rows * down.cols, out);
}

}  // namespace thermocline::cuda
