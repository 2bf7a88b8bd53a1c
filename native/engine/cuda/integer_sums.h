// Sums of quantized down rows, scaled by neurons' hidden values: what Kernels::accumulate adds (kernels.h), in integers.
//
// A hidden value times a block's scale has 12 bits. Those of a segment's neurons, for one row of the step and sixteen
// columns, are put on the largest one's exponent, as whole numbers below 2^30; sums of their products with quants are
// exact in 64 bits and become one f64, of which a card adds few. A number that would lose bits there, because it is some
// 2^18 times smaller than the largest, is left out, and added in f64 in the end. A row's sums do not depend on the others
// in its tile.
#pragma once

#include "nonzero_list.h"
#include "quant_words.h"

namespace thermocline::cuda {

inline constexpr unsigned kSumWarps = 4;
inline constexpr unsigned kPiecesOfBlock = kWarp;
static_assert(kSumWarps * kWarp == kPiecesOfBlock * kPieceBytes / sizeof(uint32_t));  // a thread a word

// To kSumBits significant bits, halves away from 0. What is no number stays so.
THERMOCLINE_DEVICE float to_sum_bits(float value) {
  constexpr unsigned kDropped = 24 - kSumBits;
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7f800000) == 0x7f800000) return value;
  return float_of((bits + (1u << (kDropped - 1))) >> kDropped << kDropped);
}

// Bits of |x| that can be compared; 0 of what is no number.
THERMOCLINE_DEVICE uint32_t magnitude_of(float x) {
  const uint32_t bits = bits_of(x) & 0x7fffffff;
  return bits < 0x7f800000 ? bits : 0;
}

// A power of two that makes whole numbers of floats up to a largest one.
struct Exponent {
  static constexpr uint32_t kOne = 1u << 23, kBits = 29;
  float factor;

  // From the largest one's bits without its sign.
  THERMOCLINE_DEVICE static Exponent of(uint32_t largest) {
    const uint32_t least = (kBits + 1) * kOne, exponent = largest & 0x7f800000;
    return {float_of((254 + kBits) * kOne - (exponent > least ? exponent : least))};
  }
  THERMOCLINE_DEVICE double unit() const { return float_of(254 * kOne - bits_of(factor)); }
  // Whether the number is whole in these units.
  THERMOCLINE_DEVICE bool whole(float value, int& number) const {
    const float scaled = value * factor;
    number = integer_part(scaled);
    return static_cast<float>(number) == scaled;
  }
};

// A block's share: a segment's neurons, and 32 pieces of their rows.
template <WeightType Type, unsigned X>
class IntegerSums {
  using Quants = QuantPiece<Type>;
  static constexpr unsigned kGroups = Quants::kGroups;
  static constexpr unsigned kScales = kGroups * X;              // of a piece, for a neuron
  static_assert(kScales <= 32);  // bits
  static constexpr unsigned kNeurons = X > 2 ? 4 : 2 * kSumWarps;  // whose quants are on their way at a time

  // In shared memory. Threads compute scales for the piece of their lane, and add up the columns of their word.
  struct Shared {
    int64_t minimums[Quants::kHasMinimum ? kSumWarps : 1][kScales][kPiecesOfBlock];
    union {
      uint32_t largest[kSumWarps][kScales][kPiecesOfBlock];
      int whole[kNeurons][kScales][kPiecesOfBlock];
    };
    Exponent exponents[kScales][kPiecesOfBlock];
    uint32_t apart[kPiecesOfBlock];  // bit s: a number of scale s is left out
    uint32_t length;
  };

 public:
  static constexpr size_t shared_bytes(const Segments& segments) {
    return sizeof(Shared) + segments.each * sizeof(uint32_t);
  }

  THERMOCLINE_DEVICE IntegerSums(const CardMatrix& down, const TileNeurons& tile, const Segments& segments)
      : shared_(*reinterpret_cast<Shared*>(shared_memory())),
        list_(reinterpret_cast<uint32_t*>(&shared_ + 1)),
        down_(down),
        tile_(tile),
        blocks_(down.cols / static_cast<unsigned>(card_block(Type).elements)) {
    if (thread_index() < kPiecesOfBlock) shared_.apart[thread_index()] = 0;
    list_nonzero<X>(tile, block_index().y * segments.each, segments.each, list_, &shared_.length);
    length_ = shared_.length;
  }

  THERMOCLINE_DEVICE unsigned length() const { return length_; }

  // sums[j][column] for the block's columns.
  THERMOCLINE_DEVICE void put(double* sums) {
    const unsigned piece = thread_index() / 4, word = thread_index() % 4;
    const unsigned at = first_piece() + piece;
    QuantWord words[kNeurons];
    fetch(0, at, word, words);
    find_exponents();
    if constexpr (Quants::kHasMinimum) find_minimums();
    int64_t whole[X][kGroups][4] = {};
    for (unsigned first = 0; first < length_; first += kNeurons) {
      make_whole(first);
      sync_threads();
      QuantWord next[kNeurons];
      fetch(first + kNeurons, at, word, next);
      THERMOCLINE_UNROLL for (unsigned n = 0; n < kNeurons; ++n) {
        THERMOCLINE_UNROLL for (unsigned g = 0; g < kGroups; ++g) {
          const uint32_t four = quants(at).quants(words[n], g);
          THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
            const int scale = shared_.whole[n][g * X + j][piece];
            for (unsigned c = 0; c < 4; ++c) {
              whole[j][g][c] = multiply_add(scale, static_cast<int8_t>(four >> 8 * c), whole[j][g][c]);
            }
          }
        }
        words[n] = next[n];
      }
      sync_threads();
    }
    if (!is_there(at)) return;
    THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
      THERMOCLINE_UNROLL for (unsigned g = 0; g < kGroups; ++g) {
        const double unit = shared_.exponents[g * X + j][piece].unit();
        const int64_t minimum = minimum_of(g * X + j, piece);
        double* to = sums + place_of(at, word, g, j);
        for (unsigned c = 0; c < 4; ++c) to[c] = static_cast<double>(whole[j][g][c] - minimum) * unit;
      }
    }
    add_apart(at, word, sums);
  }

 private:
  THERMOCLINE_DEVICE unsigned first_piece() const { return block_index().x * kPiecesOfBlock; }
  THERMOCLINE_DEVICE bool is_there(unsigned piece) const { return piece < blocks_ * Quants::kPieces; }
  THERMOCLINE_DEVICE Quants quants(unsigned piece) const { return {piece % blocks_, piece / blocks_}; }
  THERMOCLINE_DEVICE RowOfBlocks<Type> row(unsigned index) const {
    return {down_.rows + list_[index] * card_row_bytes(Type, down_.cols), blocks_};
  }
  THERMOCLINE_DEVICE float hidden(unsigned j, unsigned index) const {
    return tile_.hidden[size_t{j} * tile_.stride + list_[index]];
  }

  // A word of each of the next neurons.
  THERMOCLINE_DEVICE void fetch(unsigned first, unsigned at, unsigned word, QuantWord (&words)[kNeurons]) const {
    THERMOCLINE_UNROLL for (unsigned n = 0; n < kNeurons; ++n) {
      words[n] = is_there(at) && first + n < length_ ? quants(at).word(row(first + n), word) : QuantWord{};
    }
  }

  // Of a word's columns among a block's sums.
  THERMOCLINE_DEVICE size_t place_of(unsigned at, unsigned word, unsigned g, unsigned j) const {
    return size_t{j} * down_.cols + quants(at).first_column(g) + 4 * word;
  }

  // Calls visit(g, j, value, scale) for the warp's share of the neurons and the lane's piece, where row j has a value.
  // What is read of a few neurons is on its way at a time.
  template <class Visit>
  THERMOCLINE_DEVICE void for_scales(const Visit& visit) const {
    constexpr unsigned kAtATime = 4;
    const unsigned at = first_piece() + lane_index();
    if (!is_there(at)) return;
    for (unsigned first = thread_index() / kWarp; first < length_; first += kAtATime * kSumWarps) {
      QuantScale scales[kAtATime][kGroups];
      float values[kAtATime][X];
      THERMOCLINE_UNROLL for (unsigned i = 0; i < kAtATime; ++i) {
        const unsigned n = first + i * kSumWarps, there = n < length_ ? n : first;
        THERMOCLINE_UNROLL for (unsigned g = 0; g < kGroups; ++g) scales[i][g] = quants(at).scale(row(there), g);
        THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) values[i][j] = n < length_ ? hidden(j, n) : 0;
      }
      THERMOCLINE_UNROLL for (unsigned i = 0; i < kAtATime; ++i) {
        THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) {
          if (values[i][j] == 0) continue;
          THERMOCLINE_UNROLL for (unsigned g = 0; g < kGroups; ++g) visit(g, j, values[i][j], scales[i][g]);
        }
      }
    }
  }

  // The largest scale of each kind for the lane's piece, and what that makes whole numbers.
  THERMOCLINE_DEVICE void find_exponents() {
    const unsigned lane = lane_index(), warp = thread_index() / kWarp;
    uint32_t largest[kGroups][X] = {};
    const auto take = [&](unsigned g, unsigned j, float scale) {
      const uint32_t magnitude = magnitude_of(to_sum_bits(scale));
      if (magnitude > largest[g][j]) largest[g][j] = magnitude;
    };
    for_scales([&](unsigned g, unsigned j, float value, const QuantScale& scale) {
      take(g, j, value * scale.scale);
      if (Quants::kHasMinimum) take(g, j, value * scale.minimum);
    });
    THERMOCLINE_UNROLL for (unsigned g = 0; g < kGroups; ++g) {
      THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) shared_.largest[warp][g * X + j][lane] = largest[g][j];
    }
    sync_threads();
    for (unsigned s = warp; s < kScales; s += kSumWarps) {
      uint32_t most = 0;
      for (unsigned w = 0; w < kSumWarps; ++w) {
        if (shared_.largest[w][s][lane] > most) most = shared_.largest[w][s][lane];
      }
      shared_.exponents[s][lane] = Exponent::of(most);
    }
    sync_threads();
  }

  // What is taken off all columns of the lane's piece.
  THERMOCLINE_DEVICE void find_minimums() {
    const unsigned lane = lane_index(), warp = thread_index() / kWarp;
    int64_t sums[kGroups][X] = {};
    for_scales([&](unsigned g, unsigned j, float value, const QuantScale& scale) {
      sums[g][j] += whole_or_apart(g * X + j, value, scale.minimum);
    });
    THERMOCLINE_UNROLL for (unsigned g = 0; g < kGroups; ++g) {
      THERMOCLINE_UNROLL for (unsigned j = 0; j < X; ++j) shared_.minimums[warp][g * X + j][lane] = sums[g][j];
    }
    sync_threads();
  }

  THERMOCLINE_DEVICE int64_t minimum_of(unsigned scale, unsigned piece) const {
    int64_t sum = 0;
    if (Quants::kHasMinimum) {
      for (unsigned w = 0; w < kSumWarps; ++w) sum += shared_.minimums[w][scale][piece];
    }
    return sum;
  }

  // The product as a whole number for the lane's piece; 0 where it is none.
  THERMOCLINE_DEVICE int whole_or_apart(unsigned scale, float value, float factor) {
    int number;
    if (value == 0) return 0;
    if (shared_.exponents[scale][lane_index()].whole(to_sum_bits(value * factor), number)) return number;
    set_atomically(&shared_.apart[lane_index()], 1u << scale);
    return 0;
  }

  // The scales of the next neurons for the lane's piece.
  THERMOCLINE_DEVICE void make_whole(unsigned first) {
    const unsigned lane = lane_index(), warp = thread_index() / kWarp, at = first_piece() + lane;
    for (unsigned n = warp; n < kNeurons; n += kSumWarps) {
      const bool there = first + n < length_ && is_there(at);
      for (unsigned g = 0; g < kGroups; ++g) {
        const float scale = there ? quants(at).scale(row(first + n), g).scale : 0;
        for (unsigned j = 0; j < X; ++j) {
          const float value = there ? hidden(j, first + n) : 0;
          shared_.whole[n][g * X + j][lane] = whole_or_apart(g * X + j, value, scale);
        }
      }
    }
  }

  // Adds what whole_or_apart() left out to the columns of a word.
  THERMOCLINE_DEVICE void add_apart(unsigned at, unsigned word, double* sums) const {
    const unsigned piece = at - first_piece();
    for (uint32_t apart = shared_.apart[piece]; apart != 0; apart &= apart - 1) {
      const unsigned s = lowest_bit(apart), g = s / X, j = s % X;
      const Exponent exponent = shared_.exponents[s][piece];
      double* to = sums + place_of(at, word, g, j);
      double total[4] = {to[0], to[1], to[2], to[3]};
      for (unsigned n = 0; n < length_; ++n) {
        const float value = hidden(j, n);
        if (value == 0) continue;
        const QuantScale scale = quants(at).scale(row(n), g);
        const float scaled = to_sum_bits(value * scale.scale), minimum = to_sum_bits(value * scale.minimum);
        int number;
        if (!exponent.whole(scaled, number)) {
          const uint32_t four = quants(at).quants(quants(at).word(row(n), word), g);
          for (unsigned c = 0; c < 4; ++c) total[c] += double{scaled} * static_cast<int8_t>(four >> 8 * c);
        }
        if (Quants::kHasMinimum && !exponent.whole(minimum, number)) {
          for (unsigned c = 0; c < 4; ++c) total[c] -= minimum;
        }
      }
      for (unsigned c = 0; c < 4; ++c) to[c] = total[c];
    }
  }

  Shared& shared_;
  uint32_t* list_;  // behind it
  const CardMatrix& down_;
  const TileNeurons& tile_;
  unsigned blocks_;
  unsigned length_;
};

// partial[segment][j][column]
template <WeightType Type, unsigned X>
THERMOCLINE_KERNEL void sum_quantized_rows(CardMatrix down, TileNeurons tile, Segments segments, double* partial,
                                           NeuronCounts* counts) {
  IntegerSums<Type, X> sums(down, tile, segments);
  if (block_index().x == 0 && thread_index() == 0) add_atomically(&counts->downs, sums.length());
  sums.put(partial + size_t{block_index().y} * X * down.cols);
}

}  // namespace thermocline::cuda
