// The ends of what blocks can hold, where 16-bit sums of products would saturate, and numbers that are none.
#include "../kernels/kernels.h"

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "kernel_calls.h"

namespace thermocline {
namespace {

using namespace test;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Bytes of quants, and of K-quants' scales, that lie at the ends of one format or another.
constexpr int kEnds[] = {0x00, 0x0f, 0x3f, 0x7f, 0x80, 0x81, 0xc0, 0xf0, 0xff};
constexpr int kRandomByte = -1;

// A row whose scales d are 1, and the minimums' as well.
Bytes row_of_ones(Random& random, WeightType type, int quants, int scales, size_t cols) {
  Bytes row = random_row(random, type, Data::random, cols);
  const size_t bytes = block_bytes(type);
  for (size_t i = 0; i < row.size(); ++i) {
    const size_t at = i % bytes;
    const bool is_scale = has_minimums(type) ? at < 16 : type == WeightType::q6_k && at >= 192;
    const int byte = is_scale ? scales : quants;
    if (byte != kRandomByte) row[i] = static_cast<uint8_t>(byte);
  }
  const Halves halves = halves_of(type);
  for (size_t block = 0; block < row.size(); block += bytes) {
    for (const size_t half : {halves.d, halves.minimum_d}) put_at(row, block + half, to_f16(1.0f));
  }
  return row;
}

Bytes activation_of_ones(Random& random, int quant, size_t cols) {
  Bytes x;
  for (size_t block = 0; block < cols / kBlock; ++block) {
    int8_t quants[kBlock];
    for (int8_t& q : quants) q = static_cast<int8_t>(quant == 0 ? static_cast<int>(random() % 2) * 254 - 127 : quant);
    append_activation_block(x, 1.0f, quants);
  }
  return x;
}

// With scales of 1 every term is an integer that f32 holds, and the sum of all is one that f64 holds: no error at all.
TEST(integers_at_the_ends_of_their_range_are_exact) {
  Random random(1);
  for (const WeightType type : kTypes) {
    if (!wants_quantized_activation(type)) continue;
    const size_t cols = 3 * block_elements(type);
    std::vector<Bytes> rows;
    for (const int quants : kEnds) {
      for (const int scales : kEnds) rows.push_back(row_of_ones(random, type, quants, scales, cols));
    }
    for (const int byte : kEnds) {
      rows.push_back(row_of_ones(random, type, byte, kRandomByte, cols));
      rows.push_back(row_of_ones(random, type, kRandomByte, byte, cols));
    }
    std::vector<Bytes> xs;
    for (const int quant : {127, -127, 0}) xs.push_back(activation_of_ones(random, quant, cols));

    std::vector<float> f32;
    std::vector<double> f64;
    for (const Bytes& x : xs) {
      for (const Bytes& row : rows) {
        f32.push_back(promised_product<float>(type, row, x, cols));
        f64.push_back(product_of(type, row, x, cols).exact);
      }
    }
    const auto panels = has_panels(type) ? packed(type, rows, cols) : std::vector<Bytes>{};
    for (const Kernels* kernels : instruction_sets()) {
      CHECK(same_numbers(products<float>(*kernels, type, rows, xs, cols), f32));
      const auto sums = products<double>(*kernels, type, rows, xs, cols);
      for (size_t i = 0; i < f64.size(); ++i) CHECK_EQ(sums[i], f64[i]);
      for (size_t p = 0; p < panels.size(); ++p) {
        double y[3 * kPanelRows] = {};
        const Panels panel{reinterpret_cast<const std::byte*>(panels[p].data()), panels[p].size(), 1};
        PlacedActivations x(xs);
        kernels->add_panels_f64[index_of(type)](panel, x, cols, y, kPanelRows);
        for (size_t j = 0; j < xs.size(); ++j) {
          for (size_t i = 0; i < kPanelRows && p * kPanelRows + i < rows.size(); ++i) {
            CHECK_EQ(y[j * kPanelRows + i], f64[j * rows.size() + p * kPanelRows + i]);
          }
        }
      }
    }
  }
}

// Rows and activations of which the middle ones have something that is no number in the block at `block`.
struct Spoilt {
  static constexpr size_t kRows = 3, kBad = 1;
  WeightType type;
  size_t cols, block;
  std::vector<Bytes> rows, xs;

  Spoilt(Random& random, WeightType of)
      : type(of),
        cols(3 * columns_that_stay_together(of)),
        block(random() % 3),
        rows(random_rows(random, of, Data::random, cols, kRows)),
        xs(random_activations(random, of, Data::random, cols, kRows)) {}

  // Checks which products are numbers.
  void check(bool row_is_bad, bool x_is_bad) const {
    for (const Kernels* kernels : instruction_sets()) {
      check(*kernels, products_together<float>(*kernels), row_is_bad, x_is_bad);
      check(*kernels, products_together<double>(*kernels), row_is_bad, x_is_bad);
      if (!has_panels(type)) continue;
      check(*kernels, products_in_panels<float>(*kernels), row_is_bad, x_is_bad);
      check(*kernels, products_in_panels<double>(*kernels), row_is_bad, x_is_bad);
    }
  }

 private:
  template <typename Number>
  std::vector<Number> products_together(const Kernels& kernels) const {
    PlacedRows placed(rows);
    PlacedActivations x(xs);
    std::vector<Number> y(kRows * kRows);
    rows_kernel<Number>(kernels, type)(placed.data(), kRows, x, cols, y.data(), kRows);
    return y;
  }
  template <typename Number>
  std::vector<Number> products_in_panels(const Kernels& kernels) const {
    const Bytes panel = packed(type, rows, cols)[0];
    PlacedActivations x(xs);
    std::vector<Number> all(kRows * kPanelRows), y;
    const auto* data = reinterpret_cast<const std::byte*>(panel.data());
    panels_kernel<Number>(kernels, type)({data, panel.size(), 1}, x, cols, all.data(), kPanelRows);
    for (size_t j = 0; j < kRows; ++j) {
      for (size_t i = 0; i < kRows; ++i) y.push_back(all[j * kPanelRows + i]);
    }
    return y;
  }
  template <typename Number>
  void check(const Kernels& kernels, const std::vector<Number>& y, bool row_is_bad, bool x_is_bad) const {
    for (size_t j = 0; j < kRows; ++j) {
      for (size_t i = 0; i < kRows; ++i) {
        const bool bad = (row_is_bad && i == kBad) || (x_is_bad && j == kBad);
        if (std::isfinite(y[j * kRows + i]) != bad) continue;
        std::cerr << name_of(kernels.instruction_set) << ' ' << name_of(type) << ": product of row " << i
                  << " and activation " << j << " is " << y[j * kRows + i] << std::endl;
        CHECK(false);
      }
    }
  }
};

TEST(scales_of_weights_that_are_no_numbers_reach_their_products_and_no_others) {
  Random random(2);
  for (const WeightType type : kTypes) {
    if (!wants_quantized_activation(type)) continue;
    const Halves halves = halves_of(type);
    for (const size_t half : {halves.d, halves.minimum_d}) {
      for (const float bad : {kNan, kInfinity, -kInfinity}) {
        Spoilt spoilt(random, type);
        put_at(spoilt.rows[Spoilt::kBad], spoilt.block * block_bytes(type) + half, to_f16(bad));
        spoilt.check(true, false);
      }
    }
  }
}

TEST(float_weights_that_are_no_numbers_reach_their_products_and_no_others) {
  Random random(3);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    for (size_t i = 0; i < 53; ++i) {
      Spoilt f32(random, WeightType::f32), f16(random, WeightType::f16), bf16(random, WeightType::bf16);
      f32.cols = f16.cols = bf16.cols = 53;
      put_at(f32.rows[Spoilt::kBad], 4 * i, bad);
      put_at(f16.rows[Spoilt::kBad], 2 * i, to_f16(bad));
      put_at(bf16.rows[Spoilt::kBad], 2 * i, static_cast<uint16_t>(std::bit_cast<uint32_t>(bad) >> 16));
      for (Spoilt* spoilt : {&f32, &f16, &bf16}) {
        spoilt->check(true, false);
        put_at(spoilt->xs[Spoilt::kBad], 4 * i, bad);
        spoilt->check(true, true);
      }
    }
  }
}

TEST(activations_that_are_no_numbers_reach_their_products_and_no_others) {
  Random random(4);
  for (const WeightType type : kTypes) {
    if (!wants_quantized_activation(type)) continue;
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      for (const Kernels* kernels : instruction_sets()) {
        Spoilt spoilt(random, type);
        std::vector<float> x = random_floats(random, Data::random, spoilt.cols);
        x[random() % x.size()] = bad;
        Q8Activation* blocks = reinterpret_cast<Q8Activation*>(spoilt.xs[Spoilt::kBad].data());
        kernels->quantize(x.data(), blocks, x.size());
        spoilt.check(false, true);
      }
    }
  }
}

TEST(scales_that_are_no_numbers_reach_the_sums_of_their_block_and_no_others) {
  Random random(5);
  for (const WeightType type : kTypes) {
    if (!wants_quantized_activation(type)) continue;
    const size_t elements = block_elements(type);
    for (const float bad : {kNan, kInfinity}) {
      for (const Kernels* kernels : instruction_sets()) {
        Spoilt spoilt(random, type);
        put_at(spoilt.rows[Spoilt::kBad], spoilt.block * block_bytes(type) + halves_of(type).d, to_f16(bad));
        const std::vector<float> scales(Spoilt::kRows, 1.0f);
        std::vector<double> sums(spoilt.cols);
        std::vector<float> values(spoilt.cols);
        PlacedRows rows(spoilt.rows);
        kernels->accumulate[index_of(type)](scales.data(), rows.data(), rows.count(), sums.data(), spoilt.cols);
        kernels->dequantize[index_of(type)](rows.data()[Spoilt::kBad], values.data(), spoilt.cols);
        for (size_t i = 0; i < spoilt.cols; ++i) {
          const bool in_block = i / elements == spoilt.block;
          CHECK_EQ(std::isfinite(sums[i]), !in_block);
          CHECK_EQ(std::isfinite(values[i]), !in_block);
        }
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
