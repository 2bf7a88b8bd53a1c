// Scaled sums of rows, and rows as floats: the promised bits on every length and misalignment, and in every instruction
// set.
#include "../kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "kernel_calls.h"

namespace thermocline {
namespace {

using namespace test;

// To kSumBits significant bits by arithmetic instead of bits, halves away from 0.
double rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent;
  const double fraction = std::frexp(value, &exponent);
  // A subnormal float has as many bits fewer.
  const int bits = std::min(kSumBits, kSumBits + exponent - std::numeric_limits<float>::min_exponent);
  if (bits < 0) return std::copysign(0.0, value);
  return std::ldexp(std::round(std::ldexp(fraction, bits)), exponent - bits);
}

// What accumulate() adds: the bits of these and no others.
double promised_product(WeightType type, float scale, const StoredWeight& weight) {
  if (!wants_quantized_activation(type)) return scale * (weight.d * static_cast<float>(weight.scale) * weight.quant);
  return rounded(scale * (weight.d * static_cast<float>(weight.scale))) * double{weight.quant};
}

std::vector<double> promised_sums(WeightType type, const std::vector<float>& scales, const std::vector<Bytes>& rows,
                                  std::vector<double> y) {
  for (size_t i = 0; i < y.size(); ++i) {
    for (size_t first = 0; first < rows.size(); first += kSumRows) {
      // Quantized weights' sums are added sixteen rows after the other.
      const bool together = wants_quantized_activation(type);
      double sum = together ? 0 : y[i];
      for (size_t r = first; r < std::min(rows.size(), first + kSumRows); ++r) {
        const StoredWeight weight = stored_at(type, rows[r], i);
        sum += promised_product(type, scales[r], weight);
        if (has_minimums(type)) sum -= rounded(scales[r] * (weight.minimum_d * static_cast<float>(weight.minimum)));
      }
      y[i] = together ? y[i] + sum : sum;
    }
  }
  return y;
}

std::vector<double> doubles_of(const std::vector<float>& floats) { return {floats.begin(), floats.end()}; }

void check_sums(WeightType type, const std::vector<float>& scales, const std::vector<Bytes>& rows,
                const std::vector<double>& before, size_t misalignment = 0) {
  const std::vector<double> expected = promised_sums(type, scales, rows, before);
  PlacedRows placed_rows(rows, misalignment);
  for (const Kernels* kernels : instruction_sets()) {
    Placed y(before.data(), before.size() * sizeof(double), (3 * misalignment) % kMisalignments);
    kernels->accumulate[index_of(type)](scales.data(), placed_rows.data(), rows.size(), y.as<double>(), before.size());
    CHECK(y.holds(expected.data()));
    CHECK(y.guards_intact());
  }
}

TEST(sums_are_the_promised_bits_on_every_length) {
  constexpr size_t kRows = 3;
  Random random(1);
  for (const WeightType type : kTypes) {
    for (const size_t cols : lengths(type)) {
      for (const Data data : kData) {
        const auto rows = random_rows(random, type, data, cols, kRows);
        const auto ordinary = random_rows(random, type, Data::random, cols, kRows);
        const auto scales = random_floats(random, data, kRows);
        const auto ordinary_scales = random_floats(random, Data::random, kRows);
        const auto y = doubles_of(random_floats(random, data, cols));
        check_sums(type, scales, rows, y);
        check_sums(type, scales, ordinary, y);
        check_sums(type, ordinary_scales, rows, y);
      }
    }
  }
}

TEST(sums_of_any_number_of_rows_are_those_of_one_after_the_other) {
  Random random(2);
  for (const WeightType type : kTypes) {
    for (const size_t blocks : {1u, 3u}) {
      const size_t cols = block_elements(type) == 1 ? 20 * blocks + 1 : blocks * block_elements(type);
      for (size_t count = 0; count <= 17; ++count) {
        const auto rows = random_rows(random, type, Data::random, cols, count);
        const auto scales = random_floats(random, Data::random, count);
        check_sums(type, scales, rows, doubles_of(random_floats(random, Data::random, cols)));
      }
    }
  }
}

// Scales of one batch within 2^18 of each other are summed as integers, others are not; neither may be seen. Products may
// leave the range of floats.
TEST(sums_of_rows_whose_scales_lie_far_apart_are_those_of_one_after_the_other) {
  Random random(8);
  for (const WeightType type : kTypes) {
    const size_t cols = lengths(type).back();
    for (int spread = 0; spread <= 60; ++spread) {
      for (const float largest : {1.0f, 0x1p100f, 0x1p122f, 0x1p-90f}) {
        const auto rows = random_rows(random, type, Data::random, cols, 5);
        std::vector<float> scales = random_floats(random, Data::random, 5);
        for (size_t i = 0; i < scales.size(); ++i) scales[i] *= std::ldexp(largest, i % 2 == 0 ? 0 : -spread);
        check_sums(type, scales, rows, std::vector<double>(cols));
      }
    }
  }
}

TEST(sums_are_the_same_bits_at_every_misalignment) {
  Random random(3);
  for (const WeightType type : kTypes) {
    for (const size_t cols : lengths(type)) {
      const auto rows = random_rows(random, type, Data::random, cols, 2);
      const auto scales = random_floats(random, Data::random, 2);
      const auto y = doubles_of(random_floats(random, Data::random, cols));
      for (size_t i = 0; i < kMisalignments; ++i) check_sums(type, scales, rows, y, i);
    }
  }
}

TEST(rows_become_the_promised_floats_on_every_length_and_misalignment) {
  Random random(4);
  for (const WeightType type : kTypes) {
    for (const size_t cols : lengths(type)) {
      for (const Data data : kData) {
        const Bytes row = random_row(random, type, data, cols);
        std::vector<float> expected(cols);
        for (size_t i = 0; i < cols; ++i) {
          const StoredWeight weight = stored_at(type, row, i);
          expected[i] = weight.d * static_cast<float>(weight.scale) * weight.quant;
          const float minimum = weight.minimum_d * static_cast<float>(weight.minimum);
          if (has_minimums(type)) expected[i] = expected[i] - minimum;
        }
        for (const Kernels* kernels : instruction_sets()) {
          for (size_t i = 0; i < kMisalignments; ++i) {
            Placed from(row.data(), row.size(), i);
            Placed to(Bytes(cols * sizeof(float)).data(), cols * sizeof(float), 5 * i % kMisalignments);
            kernels->dequantize[index_of(type)](from.as<std::byte>(), to.as<float>(), cols);
            CHECK(to.holds(expected.data()));
            CHECK(to.guards_intact());
          }
        }
      }
    }
  }
}

TEST(dequantized_weights_are_those_that_the_formats_say) {
  Random random(5);
  for (const WeightType type : kTypes) {
    const size_t cols = lengths(type).back();
    const Bytes row = random_row(random, type, Data::random, cols);
    std::vector<float> values(cols);
    best_kernels().dequantize[index_of(type)](reinterpret_cast<const std::byte*>(row.data()), values.data(), cols);
    for (size_t i = 0; i < cols; ++i) {
      const StoredWeight weight = stored_at(type, row, i);
      // Roundings of both products, and of their difference.
      const double bound = f32_error(2) * (std::abs(weight.product()) + std::abs(weight.offset()));
      CHECK(std::abs(values[i] - weight.value()) <= bound);
    }
  }
}

std::vector<float> scaled_sums(const Kernels& kernels, float scale, const Bytes& row, std::vector<float> y) {
  kernels.add_scaled_rows_f16(&scale, reinterpret_cast<const uint16_t*>(row.data()), 1, y.data(), y.size());
  return y;
}

TEST(scaled_rows_of_halves_are_added_right_on_every_length) {
  Random random(6);
  for (const size_t cols : lengths(WeightType::f16)) {
    for (const Data data : kData) {
      for (const auto& [of_row, of_rest] : {std::pair{data, data}, {data, Data::random}, {Data::random, data}}) {
        const Bytes row = random_row(random, WeightType::f16, of_row, cols);
        const std::vector<float> y = random_floats(random, of_rest, cols);
        const float scale = random_float(random, of_rest);
        std::vector<float> fused;
        for (const Kernels* kernels : instruction_sets()) {
          const std::vector<float> actual = scaled_sums(*kernels, scale, row, y);
          for (size_t i = 0; i < cols; ++i) {
            const double product = stored_at(WeightType::f16, row, i).value() * scale;
            // Two roundings of numbers no larger than this; the product may come out subnormal.
            const double bound = (f32_error(2) + f64_error(1)) * (std::abs(y[i]) + std::abs(product));
            CHECK(std::abs(actual[i] - (y[i] + product)) <= bound + (product != 0 ? kLeastSubnormal / 2 : 0));
          }
          if (!fuses(*kernels)) continue;
          if (fused.empty()) fused = actual;
          CHECK(same_numbers(actual, fused));
        }
      }
    }
  }
}

TEST(scaled_rows_of_halves_are_added_the_same_at_every_misalignment) {
  Random random(7);
  for (const size_t cols : lengths(WeightType::f16)) {
    const Bytes row = random_row(random, WeightType::f16, Data::random, cols);
    const std::vector<float> before = random_floats(random, Data::random, cols);
    for (const Kernels* kernels : instruction_sets()) {
      const std::vector<float> expected = scaled_sums(*kernels, 0.7f, row, before);
      for (size_t i = 0; i < kMisalignments; ++i) {
        Placed from(row.data(), row.size(), i);
        for (size_t j = 0; j < kMisalignments; ++j) {
          Placed y(before.data(), cols * sizeof(float), j);
          const float scale = 0.7f;
          kernels->add_scaled_rows_f16(&scale, from.as<uint16_t>(), 1, y.as<float>(), cols);
          CHECK(y.holds(expected.data()));
          CHECK(y.guards_intact());
        }
      }
    }
  }
}

TEST(scaled_rows_of_halves_together_are_those_of_one_after_the_other) {
  constexpr size_t kRows = 5;
  Random random(9);
  for (const size_t cols : lengths(WeightType::f16)) {
    const Bytes rows = random_row(random, WeightType::f16, Data::random, kRows * cols);
    const std::vector<float> scales = random_floats(random, Data::random, kRows);
    const std::vector<float> before = random_floats(random, Data::random, cols);
    const size_t row_bytes = cols * sizeof(uint16_t);
    for (const Kernels* kernels : instruction_sets()) {
      std::vector<float> expected = before;
      for (size_t i = 0; i < kRows; ++i) {
        expected = scaled_sums(*kernels, scales[i], {rows.begin() + i * row_bytes, rows.begin() + (i + 1) * row_bytes},
                               expected);
      }
      Placed y(before.data(), cols * sizeof(float), 0);
      kernels->add_scaled_rows_f16(scales.data(), reinterpret_cast<const uint16_t*>(rows.data()), kRows, y.as<float>(),
                                   cols);
      CHECK(y.holds(expected.data()));
      CHECK(y.guards_intact());
    }
  }
}

}  // namespace
}  // namespace thermocline
