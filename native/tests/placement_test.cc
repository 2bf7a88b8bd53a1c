// Sums over neurons in f64, rounded once: the same f32 in whatever order the neurons come and however they are divided,
// which is what keeps a model's output the same wherever its neurons are placed.
#include <algorithm>
#include <vector>

#include "../kernels/kernels.h"
#include "check.h"
#include "instruction_sets.h"
#include "kernel_data.h"
#include "weight_rows.h"

namespace thermocline {
namespace {

using namespace test;

constexpr size_t kNeurons = 2000;
constexpr size_t kCols = 256;

struct Neuron {
  float value;  // act(gate · h) * (up · h): many small ones, few large
  std::vector<uint8_t> down;
};

std::vector<Neuron> random_neurons(Random& random, WeightType type) {
  std::vector<Neuron> neurons(kNeurons);
  for (Neuron& neuron : neurons) {
    neuron.value = random_float(random, Data::random) * random_float(random, Data::random);
    neuron.down = random_row(random, type, Data::random, kCols);
  }
  return neurons;
}

// [kCols] the neurons' rows times their values, summed up in their order.
template <typename Number>
std::vector<Number> sum_up(void (*add_to)(float, const void*, Number*, size_t), const std::vector<Neuron>& neurons,
                           size_t begin = 0, size_t end = kNeurons) {
  std::vector<Number> sums(kCols);
  for (size_t n = begin; n < end; ++n) add_to(neurons[n].value, neurons[n].down.data(), sums.data(), kCols);
  return sums;
}

std::vector<float> rounded(const std::vector<double>& sums) { return {sums.begin(), sums.end()}; }

TEST(accumulating_in_any_order_gives_the_same_floats) {
  Random random(4);
  for (const WeightType type : kTypes) {
    std::vector<Neuron> neurons = random_neurons(random, type);
    const Kernels& scalar = *kernels_for(InstructionSet::scalar);
    const auto expected = rounded(sum_up(scalar.accumulate[static_cast<size_t>(type)], neurons));
    const auto f32_sums = sum_up(scalar.add_scaled[static_cast<size_t>(type)], neurons);
    for (int order = 0; order < 10; ++order) {
      std::shuffle(neurons.begin(), neurons.end(), random);
      for (const Kernels* kernels : instruction_sets()) {
        CHECK(rounded(sum_up(kernels->accumulate[static_cast<size_t>(type)], neurons)) == expected);
      }
      // The same neurons summed in f32 tell one order from another.
      CHECK(sum_up(scalar.add_scaled[static_cast<size_t>(type)], neurons) != f32_sums);
    }
  }
}

TEST(partial_sums_of_any_division_merge_to_the_same_floats) {
  Random random(5);
  for (const WeightType type : kTypes) {
    const std::vector<Neuron> neurons = random_neurons(random, type);
    for (const Kernels* kernels : instruction_sets()) {
      const auto accumulate = kernels->accumulate[static_cast<size_t>(type)];
      const auto expected = rounded(sum_up(accumulate, neurons));
      for (const size_t parts : {2u, 3u, 7u, 32u, 500u}) {
        std::vector<double> merged(kCols);
        for (size_t part = 0; part < parts; ++part) {
          const auto sums = sum_up(accumulate, neurons, kNeurons * part / parts, kNeurons * (part + 1) / parts);
          for (size_t c = 0; c < kCols; ++c) merged[c] += sums[c];
        }
        CHECK(rounded(merged) == expected);
      }
    }
  }
}

// ffn_down stored one row an output: an executor's groups of 32 neurons are summed over in runs that follow from which
// groups it has, and which of them fired.
TEST(dots_in_runs_of_any_length_add_up_to_the_same_floats) {
  constexpr size_t kGroups = 64;
  Random random(6);
  for (const WeightType type : kTypes) {
    const size_t row_stride = row_bytes(type, kBlock);
    const size_t x_stride = wants_quantized_activation(type) ? sizeof(Q8Activation) : kBlock * sizeof(float);
    size_t f32_differences = 0;
    for (const Kernels* kernels : instruction_sets()) {
      const auto wide_dot = kernels->wide_dot[static_cast<size_t>(type)];
      const auto dot = kernels->dot[static_cast<size_t>(type)];
      for (int output = 0; output < 200; ++output) {
        const auto row = random_row(random, type, Data::random, kGroups * kBlock);
        const auto x = random_activation(random, type, Data::random, kGroups * kBlock);
        const auto whole = static_cast<float>(wide_dot(row.data(), x.data(), kGroups * kBlock));
        for (const size_t run : {1u, 2u, 3u, 5u, 21u}) {
          double sum = 0;
          float f32_sum = 0;
          for (size_t g = 0; g < kGroups; g += run) {
            const size_t elements = std::min(run, kGroups - g) * kBlock;
            sum += wide_dot(row.data() + g * row_stride, x.data() + g * x_stride, elements);
            f32_sum += dot(row.data() + g * row_stride, x.data() + g * x_stride, elements);
          }
          CHECK_EQ(static_cast<float>(sum), whole);
          f32_differences += f32_sum != dot(row.data(), x.data(), kGroups * kBlock);
        }
      }
    }
    CHECK(f32_differences > 0);
  }
}

}  // namespace
}  // namespace thermocline
