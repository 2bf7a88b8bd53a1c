// Sums over neurons in f64, rounded once: the same f32 in whatever order the neurons come and however they are divided,
// which is what keeps a model's output the same wherever its neurons are placed.
#include <algorithm>
#include <numeric>
#include <vector>

#include "../kernels/kernels.h"
#include "check.h"
#include "kernel_calls.h"

namespace thermocline {
namespace {

using namespace test;

constexpr size_t kNeurons = 2000;
constexpr size_t kCols = 256;

// act(gate · h) * (up · h) of each, many small ones and few large, and their rows of ffn_down.
struct Neurons {
  std::vector<float> values;
  std::vector<Bytes> down;

  Neurons(Random& random, WeightType type) : down(random_rows(random, type, Data::random, kCols, kNeurons)) {
    for (size_t n = 0; n < kNeurons; ++n) {
      values.push_back(random_float(random, Data::random) * random_float(random, Data::random));
    }
  }
};

using Order = std::vector<size_t>;

Order in_order() {
  Order order(kNeurons);
  std::iota(order.begin(), order.end(), size_t{0});
  return order;
}

// [kCols] the rows of the neurons order[begin..end) times their values.
std::vector<double> sum_up(const Kernels& kernels, WeightType type, const Neurons& neurons, const Order& order,
                           size_t begin = 0, size_t end = kNeurons) {
  std::vector<float> values;
  std::vector<const std::byte*> rows;
  for (size_t i = begin; i < end; ++i) {
    values.push_back(neurons.values[order[i]]);
    rows.push_back(reinterpret_cast<const std::byte*>(neurons.down[order[i]].data()));
  }
  std::vector<double> sums(kCols);
  kernels.accumulate[index_of(type)](values.data(), rows.data(), rows.size(), sums.data(), kCols);
  return sums;
}

// The same in f32.
std::vector<float> f32_sums(WeightType type, const Neurons& neurons, const Order& order) {
  std::vector<float> sums(kCols), weights(kCols);
  for (const size_t n : order) {
    const auto* row = reinterpret_cast<const std::byte*>(neurons.down[n].data());
    best_kernels().dequantize[index_of(type)](row, weights.data(), kCols);
    for (size_t c = 0; c < kCols; ++c) sums[c] += neurons.values[n] * weights[c];
  }
  return sums;
}

std::vector<float> rounded(const std::vector<double>& sums) { return {sums.begin(), sums.end()}; }

TEST(accumulating_in_any_order_gives_the_same_floats) {
  Random random(4);
  for (const WeightType type : kTypes) {
    const Neurons neurons(random, type);
    Order order = in_order();
    const auto expected = rounded(sum_up(scalar_kernels(), type, neurons, order));
    const auto in_f32 = f32_sums(type, neurons, order);
    for (int shuffles = 0; shuffles < 10; ++shuffles) {
      std::shuffle(order.begin(), order.end(), random);
      for (const Kernels* kernels : instruction_sets()) {
        CHECK(rounded(sum_up(*kernels, type, neurons, order)) == expected);
      }
      // The same neurons summed in f32 tell one order from another.
      CHECK(f32_sums(type, neurons, order) != in_f32);
    }
  }
}

TEST(partial_sums_of_any_division_merge_to_the_same_floats) {
  Random random(5);
  for (const WeightType type : kTypes) {
    const Neurons neurons(random, type);
    const Order order = in_order();
    for (const Kernels* kernels : instruction_sets()) {
      const auto expected = rounded(sum_up(*kernels, type, neurons, order));
      for (const size_t parts : {2u, 3u, 7u, 32u, 500u}) {
        std::vector<double> merged(kCols);
        for (size_t part = 0; part < parts; ++part) {
          const auto sums =
              sum_up(*kernels, type, neurons, order, kNeurons * part / parts, kNeurons * (part + 1) / parts);
          for (size_t c = 0; c < kCols; ++c) merged[c] += sums[c];
        }
        CHECK(rounded(merged) == expected);
      }
    }
  }
}

// ffn_down stored one row an output: an executor's groups of 32 neurons (256 for K-quants) are summed over in runs that
// follow from which groups it has, and which of them fired.
TEST(products_in_runs_of_any_length_add_up_to_the_same_floats) {
  constexpr size_t kGroups = 64;
  constexpr size_t kOutputs = 48;
  Random random(6);
  for (const WeightType type : kTypes) {
    const size_t group = columns_that_stay_together(type);
    const size_t row_stride = row_bytes(type, group);
    const size_t x_stride = activation_bytes(type, group);
    const auto rows = random_rows(random, type, Data::random, kGroups * group, kOutputs);
    const auto x = random_activation(random, type, Data::random, kGroups * group);
    size_t f32_differences = 0;
    for (const Kernels* kernels : instruction_sets()) {
      const auto whole = rounded(products<double>(*kernels, type, rows, {x}, kGroups * group));
      const auto whole_in_f32 = products<float>(*kernels, type, rows, {x}, kGroups * group);
      for (const size_t run : {1u, 2u, 3u, 5u, 21u}) {
        std::vector<double> sums(kOutputs);
        std::vector<float> sums_in_f32(kOutputs), run_in_f32(kOutputs);
        for (size_t g = 0; g < kGroups; g += run) {
          const size_t cols = std::min(run, kGroups - g) * group;
          std::vector<const std::byte*> from;
          for (const Bytes& row : rows) from.push_back(reinterpret_cast<const std::byte*>(row.data()) + g * row_stride);
          const Activations some{x.data() + g * x_stride, 0, 1};
          kernels->add_rows_f64[index_of(type)](from.data(), kOutputs, some, cols, sums.data(), kOutputs);
          kernels->multiply_rows[index_of(type)](from.data(), kOutputs, some, cols, run_in_f32.data(), kOutputs);
          for (size_t i = 0; i < kOutputs; ++i) sums_in_f32[i] += run_in_f32[i];
        }
        CHECK(rounded(sums) == whole);
        for (size_t i = 0; i < kOutputs; ++i) f32_differences += sums_in_f32[i] != whole_in_f32[i];
      }
    }
    CHECK(f32_differences > 0);
  }
}

}  // namespace
}  // namespace thermocline
