// Sums of quantized down rows, one a neuron, for many rows of hidden values, with tensor cores: the numbers that
// integer_sums.h adds, exact as there.
//
// A hidden value times a block's scale, on the exponent of the largest such product, is a whole number below 2^30. Its
// four bytes are rows of four matrices, which a tensor core multiplies with the quants of 32 neurons a step; integers of
// 32 bits hold the sums of 2^15 neurons. A warp has 16 rows of hidden values and the columns that one scale is for: each
// whole number is made once, in the register where the step wants it, and each word of quants is turned there from four
// columns of a neuron to four neurons of a column. What is no whole number, because it is some 2^18 times smaller than
// the largest, is added in f64.
#pragma once

#include "integer_sums.h"
#include "tensor_core.h"

namespace thermocline::cuda {

inline constexpr unsigned kDownWarps = 4;

// Byte p of the i-th word becomes byte i of the p-th.
THERMOCLINE_DEVICE void transpose_bytes(uint32_t (&words)[4]) {
  const uint32_t low01 = bytes_of(words[0], words[1], 0x5140), high01 = bytes_of(words[0], words[1], 0x7362);
  const uint32_t low23 = bytes_of(words[2], words[3], 0x5140), high23 = bytes_of(words[2], words[3], 0x7362);
  words[0] = bytes_of(low01, low23, 0x5410);
  words[1] = bytes_of(low01, low23, 0x7632);
  words[2] = bytes_of(high01, high23, 0x5410);
  words[3] = bytes_of(high01, high23, 0x7632);
}

// In a lane, with g = lane / 4 and t = lane % 4: rows g and g + 8 of the warp's, neurons 4t .. 4t + 3 and 16 + 4t .. of a
// step, and kTiles columns from kTiles * g on.
template <WeightType Type>
class DownGemm {
  using Quants = QuantPiece<Type>;
  static constexpr unsigned kColumns = Quants::kAlike, kTiles = kColumns / 8, kDigits = 4;
  static constexpr unsigned kRows = 16, kNeurons = 32;  // of a step
  static constexpr unsigned kKinds = Quants::kHasMinimum ? 2 : 1;

  struct Shared {
    uint32_t largest[kRows];  // of a row's hidden values
    FourFloats scales[kDownWarps][kKinds][kNeurons / 4];
  };

 public:
  static constexpr size_t kSharedBytes = sizeof(Shared);
  static constexpr unsigned kColumnsOfBlock = kDownWarps * kColumns;
  THERMOCLINE_ANYWHERE static constexpr unsigned row_tiles(unsigned rows) { return (rows + kRows - 1) / kRows; }

  // The `part`-th kColumnsOfBlock columns for the row_tile-th kRows of `rows` rows, of the segment that is the block's y.
  THERMOCLINE_DEVICE DownGemm(const CardMatrix& down, const TileNeurons& tile, unsigned rows, unsigned row_tile,
                              unsigned part, const Segments& segments, double* partial)
      : shared_(*reinterpret_cast<Shared*>(shared_memory())),
        down_(down),
        row_bytes_(card_row_bytes(Type, down.cols)),
        blocks_(down.cols / static_cast<unsigned>(card_block(Type).elements)),
        hidden_(tile.hidden + size_t{row_tile} * kRows * tile.stride),
        stride_(tile.stride),
        rows_(rows - row_tile * kRows < kRows ? rows - row_tile * kRows : kRows),
        column_(part * kColumnsOfBlock + thread_index() / kWarp * kColumns),
        begin_(block_index().y * segments.each),
        end_(begin_ + segments.each < tile.stride ? begin_ + segments.each : tile.stride),
        partial_(partial + (size_t{block_index().y} * rows + row_tile * kRows) * down.cols) {}

  THERMOCLINE_DEVICE void run() {
    find_largest();
    sync_threads();
    if (column_ >= down_.cols) return;
    find_exponents();
    QuantScale scale = scale_of(begin_ + lane_index());
    for (unsigned first = begin_; first < end_; first += kNeurons) {
      put(scale);
      sync_warp();
      scale = scale_of(first + kNeurons + lane_index());
      add_step(first);
      sync_warp();
    }
    put_sums();
  }

 private:
  THERMOCLINE_DEVICE static unsigned group() { return lane_index() / 4; }
  THERMOCLINE_DEVICE static unsigned place() { return lane_index() % 4; }
  THERMOCLINE_DEVICE FourFloats (&scales() const)[kKinds][kNeurons / 4] {
    return shared_.scales[thread_index() / kWarp];
  }
  THERMOCLINE_DEVICE const std::byte* row(unsigned neuron) const { return down_.rows + neuron * row_bytes_; }
  THERMOCLINE_DEVICE QuantScale scale_of(unsigned neuron) const {
    if (neuron >= down_.count) return {0, 0};
    return Quants::of(column_ / 16).scale(RowOfBlocks<Type>{row(neuron), blocks_}, Quants::group_of(column_ / 16));
  }
  // Of the columns from `column` on, to the next multiple of four.
  THERMOCLINE_DEVICE uint32_t quants_at(const std::byte* row, unsigned column) const {
    const Quants piece = Quants::of(column / 16);
    const QuantWord word = piece.word(RowOfBlocks<Type>{row, blocks_}, column / 4 % 4);
    return piece.quants(word, Quants::group_of(column / 16)) >> 8 * (column % 4);
  }

  THERMOCLINE_DEVICE static uint32_t largest_of_lanes(uint32_t mine) {
    for (unsigned distance = kWarp / 2; distance > 0; distance /= 2) {
      const uint32_t others = from_lane(mine, lane_index() ^ distance);
      if (others > mine) mine = others;
    }
    return mine;
  }

  // Of each row's hidden values; the block's warps take turns at the rows.
  THERMOCLINE_DEVICE void find_largest() {
    for (unsigned j = thread_index() / kWarp; j < kRows; j += kDownWarps) {
      uint32_t largest = 0;
      for (unsigned n = begin_ + 4 * lane_index(); j < rows_ && n < end_; n += 4 * kWarp) {
        const FourFloats four = values_of(j, n);
        for (const float value : four.values) {
          if (magnitude_of(value) > largest) largest = magnitude_of(value);
        }
      }
      largest = largest_of_lanes(largest);
      if (lane_index() == 0) shared_.largest[j] = largest;
    }
  }
  // Of the lane's rows, for products of the largest value and the largest scale.
  THERMOCLINE_DEVICE void find_exponents() {
    uint32_t largest = 0;
    THERMOCLINE_UNROLL_BY(4) for (unsigned first = begin_; first < end_; first += kNeurons) {
      const QuantScale scale = scale_of(first + lane_index());
      if (magnitude_of(scale.scale) > largest) largest = magnitude_of(scale.scale);
      if (magnitude_of(scale.minimum) > largest) largest = magnitude_of(scale.minimum);
    }
    const float scale = float_of(largest_of_lanes(largest));
    for (unsigned r = 0; r < 2; ++r) {
      const float product = float_of(shared_.largest[group() + 8 * r]) * scale;
      exponents_[r] = Exponent::of(bits_of(to_sum_bits(product)));
    }
  }

  // A step's scales, the lane's neuron's among them.
  THERMOCLINE_DEVICE void put(const QuantScale& scale) {
    scales()[0][lane_index() / 4].values[place()] = scale.scale;
    if constexpr (Quants::kHasMinimum) scales()[1][lane_index() / 4].values[place()] = scale.minimum;
  }
  THERMOCLINE_DEVICE FourFloats values_of(unsigned j, unsigned neuron) const {
    if (j >= rows_) return {};
    return *reinterpret_cast<const FourFloats*>(hidden_ + size_t{j} * stride_ + neuron);
  }

  // Products with four scales, of which a bit of `apart` each is set where it is no whole number.
  THERMOCLINE_DEVICE void make_whole(const FourFloats& values, const FourFloats& scales, unsigned r, uint32_t first_bit,
                                     uint32_t& apart, int (&numbers)[4]) const {
    THERMOCLINE_UNROLL for (unsigned i = 0; i < 4; ++i) {
      if (exponents_[r].whole(to_sum_bits(values.values[i] * scales.values[i]), numbers[i])) continue;
      numbers[i] = 0;
      apart |= 1u << (first_bit + i);
    }
  }

  // Bits of `apart`: four neurons each for the lane's two rows, twice, and the same for minimums.
  static constexpr unsigned kApartRow = 4, kApartHalf = 8, kApartMinimums = 16;

  THERMOCLINE_DEVICE void add_step(unsigned first) {
    uint32_t digits[kDigits][4], quants[kTiles][2], apart = 0;
    const unsigned column = column_ + kTiles * group();
    const std::byte* rows = down_.rows + (first + 4 * place()) * row_bytes_;
    THERMOCLINE_UNROLL for (unsigned half = 0; half < 2; ++half) {
      const unsigned neuron = first + 16 * half + 4 * place();
      uint32_t words[4];
      THERMOCLINE_UNROLL for (unsigned i = 0; i < 4; ++i) {
        words[i] = neuron + i < down_.count ? quants_at(rows + (16 * half + i) * row_bytes_, column) : 0;
      }
      transpose_bytes(words);
      THERMOCLINE_UNROLL for (unsigned k = 0; k < kTiles; ++k) quants[k][half] = words[k];
      THERMOCLINE_UNROLL for (unsigned r = 0; r < 2; ++r) {
        const FourFloats values = values_of(group() + 8 * r, neuron);
        const unsigned bit = kApartHalf * half + kApartRow * r;
        int numbers[4];
        make_whole(values, scales()[0][4 * half + place()], r, bit, apart, numbers);
        uint32_t bytes[4];
        THERMOCLINE_UNROLL for (unsigned i = 0; i < 4; ++i) bytes[i] = static_cast<uint32_t>(numbers[i]);
        transpose_bytes(bytes);
        THERMOCLINE_UNROLL for (unsigned d = 0; d < kDigits; ++d) digits[d][2 * half + r] = bytes[d];
        if constexpr (Quants::kHasMinimum) {
          make_whole(values, scales()[1][4 * half + place()], r, kApartMinimums + bit, apart, numbers);
          THERMOCLINE_UNROLL for (unsigned i = 0; i < 4; ++i) minimums_[r] += numbers[i];
        }
      }
    }
    THERMOCLINE_UNROLL for (unsigned k = 0; k < kTiles; ++k) {
      THERMOCLINE_UNROLL for (unsigned d = 0; d + 1 < kDigits; ++d) add_tile<false>(digits[d], quants[k], sums_[d][k]);
      add_tile<true>(digits[kDigits - 1], quants[k], sums_[kDigits - 1][k]);
    }
    const uint32_t lanes = ballot(apart != 0);
    if (lanes != 0) add_apart(first, lanes, apart);
  }

  // Adds what is no whole number to the sums in memory, where the lane has the column of its own number.
  THERMOCLINE_DEVICE void add_apart(unsigned first, uint32_t lanes, uint32_t apart) {
    const bool has_column = lane_index() < kColumns;
    double* to = partial_ + column_ + lane_index();
    if (!any_apart_) {
      for (unsigned j = 0; j < rows_ && has_column; ++j) to[size_t{j} * down_.cols] = 0;
      any_apart_ = true;
    }
    for (; lanes != 0; lanes &= lanes - 1) {
      const unsigned lane = lowest_bit(lanes);
      for (uint32_t bits = from_lane(apart, lane); bits != 0; bits &= bits - 1) {
        const unsigned bit = lowest_bit(bits), of_scale = bit % kApartMinimums;
        const unsigned n = of_scale / kApartHalf * 16 + lane % 4 * 4 + of_scale % 4;
        const unsigned j = lane / 4 + of_scale / kApartRow % 2 * 8;
        const float value = j < rows_ ? hidden_[size_t{j} * stride_ + first + n] : 0;  // 0 times infinity is none either
        if (value == 0 || !has_column) continue;
        const bool is_minimum = Quants::kHasMinimum && bit >= kApartMinimums;
        const double scaled = to_sum_bits(value * scales()[is_minimum][n / 4].values[n % 4]);
        const auto quant = static_cast<int8_t>(quants_at(row(first + n), column_ + lane_index()));
        to[size_t{j} * down_.cols] += is_minimum ? -scaled : scaled * quant;
      }
    }
  }

  THERMOCLINE_DEVICE void put_sums() {
    if (any_apart_) sync_warp();
    THERMOCLINE_UNROLL for (unsigned r = 0; r < 2; ++r) {
      int64_t minimum = 0;
      if constexpr (Quants::kHasMinimum) {
        minimum = minimums_[r];
        for (unsigned distance = 1; distance < 4; distance *= 2) minimum += from_lane(minimum, lane_index() ^ distance);
      }
      const unsigned j = group() + 8 * r;
      if (j >= rows_) continue;
      double* to = partial_ + size_t{j} * down_.cols + column_ + 2 * kTiles * place();
      const double unit = exponents_[r].unit();
      THERMOCLINE_UNROLL for (unsigned c = 0; c < 2 * kTiles; ++c) {
        int64_t sum = 0;
        THERMOCLINE_UNROLL for (unsigned d = kDigits; d > 0; --d) {
          sum = sum * 256 + sums_[d - 1][c % kTiles][2 * r + c / kTiles];
        }
        const double total = static_cast<double>(sum - minimum) * unit;
        to[c] = any_apart_ ? to[c] + total : total;
      }
    }
  }

  Shared& shared_;
  const CardMatrix& down_;
  size_t row_bytes_;
  unsigned blocks_;
  const float* hidden_;
  unsigned stride_, rows_, column_, begin_, end_;
  double* partial_;
  Exponent exponents_[2];  // of the lane's rows
  int sums_[kDigits][kTiles][4] = {};
  int64_t minimums_[2] = {};
  bool any_apart_ = false;
};

// partial[segment][row][column]. Blocks next to each other in the grid share columns.
template <WeightType Type>
THERMOCLINE_KERNEL_OF(kDownWarps * kWarp, 3)
void down_gemm(CardMatrix down, TileNeurons hidden, unsigned rows, Segments segments, double* partial) {
  const unsigned tiles = DownGemm<Type>::row_tiles(rows);
  DownGemm<Type>(down, hidden, rows, block_index().x % tiles, block_index().x / tiles, segments, partial).run();
}

}  // namespace thermocline::cuda
