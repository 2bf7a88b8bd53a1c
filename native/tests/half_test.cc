// Half precision: the plain conversions, and every instruction set's, against the format's definition.
#include "../kernels/half.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "../kernels/kernels.h"
#include "check.h"
#include "instruction_sets.h"

namespace thermocline {
namespace {

using test::instruction_sets;

constexpr uint32_t kHalves = 65536;
constexpr uint16_t kInfinity = 0x7c00, kSign = 0x8000, kQuiet = 0x0200;

bool is_nan(uint32_t half) { return (half & 0x7fffu) > kInfinity; }

// The value of a finite half, from its fields.
double value_of(uint32_t half) {
  const int exponent = static_cast<int>(half >> 10 & 31u);
  const double fraction = static_cast<double>(half & 1023u) / 1024;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -14) : std::ldexp(1 + fraction, exponent - 15);
  return (half & kSign) != 0 ? -magnitude : magnitude;
}

uint32_t expected_float_bits(uint32_t half) {
  const uint32_t sign = (half & kSign) << 16;
  if (is_nan(half)) return sign | 0x7fc00000u | (half & 0x03ffu) << 13;
  if ((half & 0x7fffu) == kInfinity) return sign | 0x7f800000u;
  return std::bit_cast<uint32_t>(static_cast<float>(value_of(half)));
}

struct Rounding {
  float from;
  uint16_t to;
};

// Every half itself, and each boundary between two neighbours with the floats on either side of it.
std::vector<Rounding> roundings() {
  std::vector<Rounding> all;
  for (uint32_t half = 0; half < kHalves; ++half) {
    const auto quieted = static_cast<uint16_t>(is_nan(half) ? half | kQuiet : half);
    all.push_back({std::bit_cast<float>(expected_float_bits(half)), quieted});
  }
  for (uint16_t sign : {uint16_t{0}, kSign}) {
    const float toward_zero = 0.0f;
    const float outward = sign != 0 ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
    for (uint32_t magnitude = 0; magnitude < kInfinity; ++magnitude) {
      const auto lower = static_cast<uint16_t>(sign | magnitude);
      const auto upper = static_cast<uint16_t>(lower + 1);
      // 65504 rounds as if 65536 followed it.
      const double next = (upper & 0x7fffu) == kInfinity ? std::copysign(65536.0, value_of(lower)) : value_of(upper);
      const auto middle = static_cast<float>((value_of(lower) + next) / 2);
      all.push_back({std::nextafter(middle, toward_zero), lower});
      all.push_back({middle, lower % 2 == 0 ? lower : upper});
      all.push_back({std::nextafter(middle, outward), upper});
    }
    for (float beyond : {65536.0f, 1e9f, std::numeric_limits<float>::max()}) {
      all.push_back({std::copysign(beyond, outward), static_cast<uint16_t>(sign | kInfinity)});
    }
    for (float tiny : {std::numeric_limits<float>::min(), std::numeric_limits<float>::denorm_min()}) {
      all.push_back({std::copysign(tiny, outward), sign});
    }
  }
  return all;
}

TEST(from_f16_is_exact_for_every_half) {
  for (uint32_t half = 0; half < kHalves; ++half) {
    CHECK_EQ(std::bit_cast<uint32_t>(from_f16(static_cast<uint16_t>(half))), expected_float_bits(half));
  }
}

TEST(to_f16_rounds_to_nearest_even) {
  for (const Rounding& rounding : roundings()) CHECK_EQ(to_f16(rounding.from), rounding.to);
}

TEST(kernels_round_to_f16_as_the_format_does) {
  std::vector<float> from;
  const std::vector<Rounding> all = roundings();
  for (const Rounding& rounding : all) from.push_back(rounding.from);
  for (const Kernels* kernels : instruction_sets()) {
    std::vector<uint16_t> to(from.size());
    kernels->to_f16(from.data(), to.data(), from.size());
    for (size_t i = 0; i < to.size(); ++i) CHECK_EQ(to[i], all[i].to);
  }
}

TEST(kernels_read_every_half_exactly) {
  std::vector<uint16_t> halves(kHalves);
  std::iota(halves.begin(), halves.end(), uint16_t{0});
  for (const Kernels* kernels : instruction_sets()) {
    std::vector<float> sums(kHalves, -0.0f);  // -0 + x is x, with its sign if it is 0
    const float one = 1;
    kernels->add_scaled_rows_f16(&one, halves.data(), 1, sums.data(), kHalves);
    for (uint32_t half = 0; half < kHalves; ++half) {
      if (is_nan(half)) {
        CHECK(std::isnan(sums[half]));
      } else {
        CHECK_EQ(std::bit_cast<uint32_t>(sums[half]), expected_float_bits(half));
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
