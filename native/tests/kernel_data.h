// Seeded data for the kernels' tests, and how far f32 may stray from what a double says.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace thermocline::test {

// What a row is filled with. Products and sums of `huge` floats stay finite.
enum class Data { random, zero, huge, subnormal, negative_zero };
inline constexpr Data kData[] = {Data::random, Data::zero, Data::huge, Data::subnormal, Data::negative_zero};

using Random = std::mt19937;

inline uint32_t random_bits(Random& random) { return static_cast<uint32_t>(random()); }

inline float random_float(Random& random, Data data) {
  const uint32_t bits = random_bits(random);
  const uint32_t sign = bits & 0x80000000u;
  switch (data) {
    case Data::random:
      return static_cast<float>(static_cast<int32_t>(bits)) * 0x1p-31f;
    case Data::zero:
      return 0.0f;
    case Data::huge:  // from 2^58 to 2^59: a sum of 130 products stays below 2^126
      return std::bit_cast<float>(sign | (127u + 58u) << 23 | (bits & 0x007fffffu));
    case Data::subnormal:
      return std::bit_cast<float>(sign | (bits & 0x007fffffu));
    case Data::negative_zero:
      return -0.0f;
  }
  return 0.0f;
}

inline std::vector<float> random_floats(Random& random, Data data, size_t count) {
  std::vector<float> all(count);
  for (float& x : all) x = random_float(random, data);
  return all;
}

inline constexpr double kLeastSubnormal = 0x1p-149;

// Most that `roundings` roundings to f32, one upon the other, change a value, relative to it (Higham's gamma).
inline double f32_error(double roundings) {
  const double accumulated = roundings * 0x1p-24;
  return accumulated / (1 - accumulated);
}

// The same for the doubles that f32 is held against; they round so much less that first order will do.
inline double f64_error(double roundings) { return roundings * 0x1p-53; }

}  // namespace thermocline::test
