// Weight formats: how far an element may stray from what was stored, for every format and kind of row.
#include "../formats/formats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "placed.h"
#include "weight_samples.h"

namespace thermocline {
namespace {

using namespace test;

// Half the distance between neighbouring numbers of `bits` significant bits around x, the least normal one 2^least.
double half_unit(double x, int bits, int least) {
  const int exponent = x == 0 ? least : std::max(least, std::ilogb(x));
  return std::ldexp(0.5, exponent - bits + 1);
}
double half_unit_f16(double x) { return half_unit(x, 11, -14); }

struct Range {
  double least = 0, most = 0, extreme = 0;  // of the elements and 0; the extreme is the first of largest magnitude

  Range(const float* x, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      least = std::min(least, double{x[i]});
      most = std::max(most, double{x[i]});
      if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
    }
  }
};

// Quants of `steps` to the extreme element lie half a step from it at most. The scale is rounded to a half, which costs
// each of an element's steps its share. Q4_0 has 8 steps on the extreme's side and 7 on the other, where the last is
// cut off.
double bound_of_block(const Range& range, double steps, bool one_sided, double x) {
  const double step = std::fabs(range.extreme) / steps;
  const bool cut_off = one_sided && x * range.extreme < 0 && std::fabs(x) > (steps - 0.5) * step;
  return step * (cut_off ? 1 : 0.5) + steps * half_unit_f16(step) + f32_error(4) * std::fabs(range.extreme);
}

// Q4_K and Q5_K: half a step of an even grid over the part's range, and a whole one that the search may cut off;
// steps and minimums are multiples of a 63rd of the block's largest, and those units are rounded to halves.
double bound_of_step_and_minimum(const float* block, size_t part, double most) {
  double widest = 0, lowest = 0;
  for (size_t p = 0; p < 8; ++p) {
    const Range range(block + 32 * p, 32);
    widest = std::max(widest, (range.most - range.least) / (most - 1));
    lowest = std::max(lowest, -range.least + (range.most - range.least) / (most - 1));
  }
  const Range range(block + 32 * part, 32);
  const double step_unit = widest / 63, minimum_unit = lowest / 63;
  return 1.5 * (range.most - range.least) / (most - 1) + most * step_unit / 2 + minimum_unit / 2 +
         63 * (most * half_unit_f16(step_unit) + half_unit_f16(minimum_unit));
}

// Q6_K: the same with scales alone, multiples of a 128th of the block's largest.
double bound_of_scale(const float* block, size_t part) {
  constexpr double kLeastSteps = 32 - 0.9;
  const double step = std::fabs(Range(block + 16 * part, 16).extreme) / kLeastSteps;
  const double unit = std::fabs(Range(block, kSuperBlock).extreme) / kLeastSteps / 128;
  // The largest scale is -128 units; one as large of the other sign gets 127.
  return 1.5 * step + 32 * (unit + 128 * half_unit_f16(unit));
}

double bound_of(WeightType type, const std::vector<float>& x, size_t i) {
  const float* block = x.data() + i / block_elements(type) * block_elements(type);
  const size_t place = i % block_elements(type);
  switch (type) {
    case WeightType::f32:
      return 0;
    case WeightType::f16:
      return half_unit_f16(x[i]);
    case WeightType::bf16:
      return half_unit(x[i], 8, -126);
    case WeightType::q8_0:
      return bound_of_block(Range(block, kBlock), 127, false, x[i]);
    case WeightType::q4_0:
      return bound_of_block(Range(block, kBlock), 8, true, x[i]);
    case WeightType::q4_k:
      return bound_of_step_and_minimum(block, place / 32, 15);
    case WeightType::q5_k:
      return bound_of_step_and_minimum(block, place / 32, 31);
    case WeightType::q6_k:
      return bound_of_scale(block, place / 16);
  }
  return -1;
}

std::vector<uint8_t> quantized(WeightType type, const std::vector<float>& x) {
  std::vector<uint8_t> row(row_bytes(type, x.size()));
  quantize_row(type, x.data(), row.data(), x.size());
  return row;
}

std::vector<float> dequantized(WeightType type, const std::vector<uint8_t>& row, size_t cols) {
  std::vector<float> x(cols);
  dequantize_row(type, row.data(), x.data(), cols);
  return x;
}

TEST(elements_stay_within_the_formats_bound) {
  Random random(1);
  for (const WeightType type : kWeightFormats) {
    double largest = 0;
    for (int round = 0; round < 20; ++round) {
      for (const auto& [name, x] : weight_samples(random, 2 * kSuperBlock)) {
        const std::vector<float> back = dequantized(type, quantized(type, x), x.size());
        for (size_t i = 0; i < x.size(); ++i) {
          const double error = std::fabs(double{back[i]} - x[i]);
          const double bound = bound_of(type, x, i);
          if (!(error <= bound)) {
            fail(__FILE__, __LINE__, name_of(type), " of ", name, ": element ", i, ", ", x[i], ", comes back as ",
                 back[i], ", farther than ", bound);
          }
          if (bound > 0) largest = std::max(largest, error / bound);
        }
      }
    }
    // Bounds that nothing comes near would let faults pass.
    if (type != WeightType::f32) CHECK(largest > 0.4);
  }
}

// Q8_0's scale comes back as it was, but for the roundings of max|x| / 127.
TEST(what_came_back_comes_back_again) {
  Random random(2);
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16, WeightType::q8_0}) {
    for (const auto& [name, x] : weight_samples(random, 2 * kSuperBlock)) {
      const std::vector<float> once = dequantized(type, quantized(type, x), x.size());
      const std::vector<float> twice = dequantized(type, quantized(type, once), x.size());
      for (size_t i = 0; i < x.size(); ++i) {
        const double unit = type == WeightType::q8_0 ? f32_error(4) + 0x1p-10 : 0;
        CHECK(std::fabs(double{twice[i]} - once[i]) <= unit * std::fabs(once[i]));
      }
    }
  }
}

TEST(every_number_of_blocks_at_every_misalignment_is_written_and_nothing_else) {
  Random random(3);
  for (const WeightType type : kWeightFormats) {
    const size_t block = block_elements(type);
    for (size_t cols = 0; cols <= 5 * block; cols += block) {
      std::vector<float> x(cols);
      for (float& element : x) element = random_normal(random);
      const std::vector<uint8_t> expected = quantized(type, x);
      const std::vector<float> back = dequantized(type, expected, cols);
      for (size_t misalignment = 0; misalignment < kMisalignments; ++misalignment) {
        Placed row(std::vector<uint8_t>(expected.size() + 1).data(), expected.size(), misalignment);
        quantize_row(type, x.data(), row.as<uint8_t>(), cols);
        CHECK(row.holds(expected.data()));
        CHECK(row.guards_intact());
        std::vector<float> again(cols + 1, -7.0f);
        dequantize_row(type, row.as<uint8_t>(), again.data(), cols);
        CHECK(std::equal(back.begin(), back.end(), again.begin()));
        CHECK_EQ(again[cols], -7.0f);
      }
    }
  }
}

TEST(a_block_does_not_depend_on_its_neighbours) {
  Random random(4);
  for (const WeightType type : kWeightFormats) {
    const auto samples = weight_samples(random, kSuperBlock);
    const size_t bytes = row_bytes(type, kSuperBlock);
    std::vector<float> all;
    for (const auto& sample : samples) all.insert(all.end(), sample.x.begin(), sample.x.end());
    const std::vector<uint8_t> row = quantized(type, all);
    for (size_t i = 0; i < samples.size(); ++i) {
      const std::vector<uint8_t> alone = quantized(type, samples[i].x);
      CHECK(std::equal(alone.begin(), alone.end(), row.begin() + static_cast<ptrdiff_t>(i * bytes)));
    }
  }
}

TEST(what_a_format_reaches_stays_finite) {
  Random random(5);
  for (const WeightType type : kWeightFormats) {
    const float most = reach(type);
    for (int round = 0; round < 200; ++round) {
      std::vector<float> x(kSuperBlock);
      for (float& element : x) {
        const uint32_t kind = random_bits(random) % 4;
        element = most * (kind == 0 ? 1 : kind == 1 ? -1 : random_float(random, Data::random));
      }
      for (const float back : dequantized(type, quantized(type, x), x.size())) CHECK(std::isfinite(back));
    }
  }
}

TEST(numbers_too_small_for_a_scale_are_zero) {
  for (const WeightType type : kWeightFormats) {
    if (!wants_quantized_activation(type)) continue;  // their elements have scales of their own
    for (const float tiny : {std::numeric_limits<float>::denorm_min(), 1e-40f, 1e-30f, 1e-12f}) {
      std::vector<float> x(kSuperBlock);
      for (size_t i = 0; i < x.size(); ++i) x[i] = i % 3 == 0 ? tiny : i % 3 == 1 ? -tiny : 0;
      for (const float back : dequantized(type, quantized(type, x), x.size())) CHECK_EQ(back, 0.0f);
    }
  }
}

}  // namespace
}  // namespace thermocline
