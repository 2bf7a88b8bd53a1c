// Blocks of panels of Q4_K, Q5_K and Q6_K, for panels.h. Scales need no gathering here: a lane is a row.
#pragma once

#include "k_quant_scales.h"
#include "panels.h"

namespace thermocline {
namespace {

// What lies `offset` bytes into sixteen rows' block, from row `lane` on.
const uint8_t* piece_at(const uint8_t* block, size_t lane, size_t offset) {
  return block + kPanelRows * offset + lane * kPanelPiece;
}

template <class Lanes>
typename Lanes::Floats halves_at(const uint8_t* block, size_t lane, size_t offset) {
  return Lanes::load_halves(block + kPanelRows * offset + lane * sizeof(uint16_t));
}

// The sum of `Groups` groups' products with x's, times their scale; quants are at most `Most`.
template <class Lanes, class Dot, int Most, size_t Groups>
typename Lanes::Ints scaled_sum(const typename Lanes::Ints* quants, const uint8_t* x, typename Lanes::Ints scale) {
  constexpr size_t kRoom = Dot::room_for(Most) < Groups ? Dot::room_for(Most) : Groups;
  static_assert(kRoom > 0);
  typename Lanes::Ints total;
  for (size_t first = 0; first < Groups; first += kRoom) {
    auto sums = Dot::nibbles_zero();
    for (size_t g = first; g < first + kRoom; ++g) sums = Dot::add_nibbles(sums, quants[g], Lanes::splat4(x + 4 * g));
    const auto scaled = Dot::times(sums, scale);
    total = first == 0 ? scaled : Lanes::add(total, scaled);
  }
  return total;
}

struct QuantsOfQ4_K {
  static constexpr size_t kBytes = kQ4_KBlockBytes;
  static constexpr int kMost = 15;
  template <class Lanes, size_t Sub>
  static typename Lanes::Ints load(const uint8_t* block, size_t lane, size_t group, size_t quants = kQ4_KQuants) {
    const auto both = Lanes::load_ints(piece_at(block, lane, quants + Sub / 2 * kBlock + 4 * group));
    return Sub % 2 == 0 ? Lanes::low_nibbles(both) : Lanes::high_nibbles(both);
  }
};

struct QuantsOfQ5_K {
  static constexpr size_t kBytes = kQ5_KBlockBytes;
  static constexpr int kMost = 31;
  template <class Lanes, size_t Sub>
  static typename Lanes::Ints load(const uint8_t* block, size_t lane, size_t group) {
    const auto high = Lanes::load_ints(piece_at(block, lane, kQ5_KHighBits + 4 * group));
    return Lanes::with_bits(QuantsOfQ4_K::load<Lanes, Sub>(block, lane, group, kQ5_KQuants),
                            Lanes::template move_bits<Sub, 4>(high), Lanes::splat_byte(1 << 4));
  }
};

template <class Lanes, class Dot, class Quants>
class PanelWithMinimums {
  using Ints = typename Lanes::Ints;
  using Floats = typename Lanes::Floats;

 public:
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = kPanelRows * Quants::kBytes;

  PanelWithMinimums() = default;
  PanelWithMinimums(const uint8_t* block, size_t lane)
      : block_(block),
        lane_(lane),
        d_(halves_at<Lanes>(block, lane, 0)),
        minimum_d_(halves_at<Lanes>(block, lane, kKScaleOfMinimums)),
        packed_(Lanes::load_ints(piece_at(block, lane, kKScales)),
                Lanes::load_ints(piece_at(block, lane, kKScales + 4)),
                Lanes::load_ints(piece_at(block, lane, kKScales + 8))) {}

  struct Part {
    Ints quants[kGroups];
    Ints scale, minimum;
    Floats d, minimum_d;

    Floats value(const uint8_t* x) const {
      const Ints integers = scaled_sum<Lanes, Dot, Quants::kMost, kGroups>(quants, x + kActivationQuants, scale);
      const Ints minimums = Lanes::multiply_halves(minimum, Lanes::splat4(x + kActivationSums));
      return Lanes::subtract(Lanes::multiply(d, Lanes::to_floats(integers)),
                             Lanes::multiply(minimum_d, Lanes::to_floats(minimums)));
    }
  };

  template <size_t Sub>
  Part part() const {
    Part part;
    for (size_t g = 0; g < kGroups; ++g) part.quants[g] = Quants::template load<Lanes, Sub>(block_, lane_, g);
    part.scale = scale_of<Lanes, Dot, Sub % 4>(packed_.scales[Sub / 4]);
    part.minimum = byte_in_halves<Lanes, Sub % 4>(packed_.minimums[Sub / 4]);
    part.d = d_;
    part.minimum_d = minimum_d_;
    return part;
  }

 private:
  const uint8_t* block_;
  size_t lane_;
  Floats d_, minimum_d_;
  ScalesAndMinimums<Lanes> packed_;
};

template <class Lanes, class Dot>
using PanelQ4_K = PanelWithMinimums<Lanes, Dot, QuantsOfQ4_K>;
template <class Lanes, class Dot>
using PanelQ5_K = PanelWithMinimums<Lanes, Dot, QuantsOfQ5_K>;

template <class Lanes, class Dot>
class PanelQ6_K {
  using Ints = typename Lanes::Ints;
  using Floats = typename Lanes::Floats;

 public:
  static constexpr size_t kElements = kSuperBlock;
  static constexpr size_t kBytes = kPanelRows * kQ6_KBlockBytes;

  PanelQ6_K() = default;
  PanelQ6_K(const uint8_t* block, size_t lane)
      : block_(block), lane_(lane), d_(halves_at<Lanes>(block, lane, kQ6_KScale)) {}

  struct Part {
    Ints quants[kGroups];  // plus 32
    Ints first, second, zeros;
    Floats d;

    Floats value(const uint8_t* x) const {
      constexpr int kMost = 63;
      constexpr size_t kHalf = kGroups / 2;
      const uint8_t* bytes = x + kActivationQuants;
      const Ints sums = Lanes::add(
          scaled_sum<Lanes, Dot, kMost, kHalf>(quants, bytes, first),
          scaled_sum<Lanes, Dot, kMost, kHalf>(quants + kHalf, bytes + kBlock / 2, second));
      const Ints of_zeros = Lanes::multiply_halves(zeros, Lanes::splat4(x + kActivationSums));
      return Lanes::multiply(d, Lanes::to_floats(Lanes::subtract(sums, of_zeros)));
    }
  };

  template <size_t Sub>
  Part part() const {
    constexpr size_t kHalf = Sub / 4, kQuarter = Sub % 4;
    constexpr size_t kLow = kHalf * (kSuperBlock / 4) + kQuarter % 2 * kBlock;
    constexpr size_t kHigh = kQ6_KHighBits + kHalf * (kSuperBlock / 8);
    Part part;
    for (size_t g = 0; g < kGroups; ++g) {
      const Ints four = Lanes::load_ints(piece_at(block_, lane_, kLow + 4 * g));
      const Ints two = Lanes::load_ints(piece_at(block_, lane_, kHigh + 4 * g));
      part.quants[g] = Lanes::with_bits(kQuarter < 2 ? Lanes::low_nibbles(four) : Lanes::high_nibbles(four),
                                        Lanes::template move_bits<2 * kQuarter, 4>(two), Lanes::splat_byte(3 << 4));
    }
    const Ints scales = Lanes::load_ints(piece_at(block_, lane_, kQ6_KScales + Sub / 2 * 4));
    part.first = signed_scale_of<Lanes, Dot, Sub % 2 * 2>(scales);
    part.second = signed_scale_of<Lanes, Dot, Sub % 2 * 2 + 1>(scales);
    part.zeros = two_times_32<Lanes, Sub % 2 * 2>(scales);
    part.d = d_;
    return part;
  }

 private:
  const uint8_t* block_;
  size_t lane_;
  Floats d_;
};

}  // namespace
}  // namespace thermocline
