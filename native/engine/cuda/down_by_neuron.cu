#include "down_by_neuron.h"

#include <type_traits>

#include "down_gemm.h"
#include "elements.h"
#include "gemv.h"
#include "wide_sum.h"

namespace thermocline::cuda {
namespace {

// What a thread takes of a row of floats: a piece, or half of one where sums of X rows would not fit its registers.
template <WeightType Type, unsigned X>
using PartOfPiece = std::conditional_t<(X * kPieceBytes / float_bytes(Type) > 32), HalfPiece, Piece>;

// A sum of sum_float_rows() that left the range of floats, in doubles: of the listed neurons' `index`-th weight in the
// word at `offset` of their rows.
template <WeightType Type>
THERMOCLINE_DEVICE double sum_in_doubles(const CardMatrix& down, const float* hidden, const uint32_t* list,
                                         unsigned length, size_t offset, unsigned index) {
  DoubleSum sum;
  for (unsigned n = 0; n < length; ++n) {
    const float value = hidden[list[n]];
    if (value == 0) continue;
    const std::byte* word = down.rows + list[n] * card_row_bytes(Type, down.cols) + offset;
    sum.add(value * float_in(read_once(reinterpret_cast<const uint32_t*>(word)), index, Type));
  }
  return sum.value();
}

// Of floats: a product is rounded to f32, and added in f64 or as wide (wide_sum.h).
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void sum_float_rows(CardMatrix down, TileNeurons tile, Segments segments, double* partial,
                                       NeuronCounts* counts) {
  using Part = PartOfPiece<Type, X>;
  constexpr unsigned kInPart = sizeof(Part) / float_bytes(Type), kParts = kPieceBytes / sizeof(Part);
  constexpr unsigned kNeurons = 4;  // whose parts are on their way at a time
  uint32_t* list = reinterpret_cast<uint32_t*>(shared_memory()) + 1;
  list_nonzero<X>(tile, block_index().y * segments.each, segments.each, list, list - 1);
  const unsigned length = list[-1];
  if (block_index().x == 0 && thread_index() == 0) add_atomically(&counts->downs, length);

  const size_t row_bytes = card_row_bytes(Type, down.cols);
  const unsigned at = element_index();
  if (at >= row_bytes / sizeof(Part)) return;
  WideSum sums[X][kInPart];
  for (unsigned first = 0; first < length; first += kNeurons) {
    Part parts[kNeurons] = {};
    THERMOCLINE_UNROLL for (unsigned n = 0; n < kNeurons; ++n) {
      if (first + n >= length) continue;
      parts[n] = read_once(reinterpret_cast<const Part*>(down.rows + list[first + n] * row_bytes) + at);
    }
    THERMOCLINE_UNROLL for (unsigned n = 0; n < kNeurons; ++n) {
      if (first + n >= length) continue;
      THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
        const float value = tile.hidden[size_t{j} * tile.stride + list[first + n]];
        if (value == 0) continue;
        THERMOCLINE_UNROLL for (unsigned i = 0; i < kInPart; ++i) sums[j][i].add(value * float_at(parts[n], i, Type));
      }
    }
  }
  partial += size_t{block_index().y} * X * down.cols;
  const unsigned piece = at / kParts, lane = piece % kFloatLanes;
  const unsigned turn = (piece / kFloatLanes * kParts + at % kParts) * kInPart;  // of the part's first column
  uint32_t unknown = 0;  // bit i * X + j
  static_assert(kInPart * X <= 32);
  THERMOCLINE_UNROLL for (unsigned i = 0; i < kInPart; ++i) {
    const unsigned column = (turn + i) * kFloatLanes + lane;
    if (column >= down.cols) continue;
    THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
      partial[size_t{j} * down.cols + column] = sums[j][i].value();
      if (!sums[j][i].known()) unknown |= 1u << (i * X + j);
    }
  }
  for (; unknown != 0; unknown &= unknown - 1) {
    constexpr unsigned kInWord = sizeof(uint32_t) / float_bytes(Type);
    const unsigned i = lowest_bit(unknown) / X, j = lowest_bit(unknown) % X;
    partial[size_t{j} * down.cols + (turn + i) * kFloatLanes + lane] =
        sum_in_doubles<Type>(down, tile.hidden + size_t{j} * tile.stride, list, length,
                             at * sizeof(Part) + i / kInWord * sizeof(uint32_t), i % kInWord);
  }
}

THERMOCLINE_KERNEL void add_segments(const double* partial, unsigned segments, unsigned elements, double* out) {
  const unsigned i = element_index();
  if (i >= elements) return;
  double sum = 0;
  for (unsigned s = 0; s < segments; ++s) sum += partial[size_t{s} * elements + i];
  out[i] = sum;
}

template <unsigned X>
void sum_tile(Stream stream, const CardMatrix& down, const TileNeurons& tile, double* partial, double* out,
              NeuronCounts* counts) {
  const Segments segments = Segments::of(down.count);
  for_type(down.type, [&]<WeightType Type>() {
    const auto pieces_in = [&](unsigned pieces_of_block, unsigned pieces) {
      return Extent{(pieces + pieces_of_block - 1) / pieces_of_block, segments.count};
    };
    if constexpr (kIsFloat<Type>) {
      constexpr unsigned kThreads = 128;
      const auto parts = static_cast<unsigned>(card_row_bytes(Type, down.cols) / sizeof(PartOfPiece<Type, X>));
      launch(stream, sum_float_rows<Type, X>,
             {pieces_in(kThreads, parts), kThreads, (1 + segments.each) * sizeof(uint32_t)}, down, tile, segments,
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

}  // namespace

void sum_down_by_neuron(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows, double* partial,
                        double* out, NeuronCounts* counts) {
  for_tile(rows, [&]<unsigned X>() { sum_tile<X>(stream, down, tile, partial, out, counts); });
}

void sum_down_of_many_by_neuron(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
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
