// A layer's neurons on the card, emulated: what the CPU's operator gives, for every type, activation and layout.
#include "neuron_layer.h"

#include <utility>

namespace thermocline {
namespace {

using namespace test;
using cuda::NeuronRule;

// Floats and SiLU have the card's bits only where the CPU fuses, too.
bool can_compare(const NeuronCase& of) {
  return fuses(fusing_kernels()) || (wants_quantized_activation(of.gate) && wants_quantized_activation(of.up) &&
                                     of.rule.activation != Activation::silu);
}

void check(Random& random, const NeuronCase& of, unsigned rows) {
  if (!can_compare(of)) return;
  NeuronLayer layer(random, of);
  std::vector<float> h = random_floats(random, Data::random, size_t{rows} * of.embd);
  for (size_t r = 0; r < std::min<size_t>(rows, of.first_inputs.size()); ++r) h[r * of.embd] = of.first_inputs[r];
  std::vector<uint64_t> active(rows * active_words(of.ff));
  for (uint64_t& word : active) word = random_bits(random) | uint64_t{random_bits(random)} << 32;
  if (!of.choose) active.clear();  // visits all

  const NeuronOutcome expected = layer.on_the_cpu(h, rows, active), actual = layer.on_the_card(h, rows, active);
  for (size_t i = 0; i < expected.out.size(); ++i) {
    if (same_sum(actual.out[i], expected.out[i])) continue;
    fail(__FILE__, __LINE__, name_of(of.gate), ", ", name_of(of.down), of.down_by_neuron ? " by neuron" : " by output",
         ", ", layer.neurons, " neurons, row ", i / of.embd, " of ", rows, ", output ", i % of.embd, ": ",
         actual.out[i], " instead of ", expected.out[i]);
  }
  CHECK_EQ(actual.fired, expected.fired);
  // A tile of so many reads all neurons once.
  if (rows >= 2 * cuda::kMostRows && rows <= cuda::kManyRows) {
    CHECK_EQ(actual.gates, layer.neurons);
    CHECK_EQ(actual.ups, layer.neurons);
  }
  // The CPU's tiles are larger.
  if (rows == cuda::most_rows_of_tile(rows)) CHECK_EQ(actual.bytes, expected.bytes);
  CHECK(actual.counts == expected.counts);
  CHECK(actual.fired_set == expected.fired_set);
  for (size_t n = 0; n < of.ff; ++n) CHECK(same_value(actual.strengths[n], expected.strengths[n]));
}

constexpr NeuronRule kRules[] = {
    {Activation::relu, 0}, {Activation::relu, 0.4f}, {Activation::relu2, 0}, {Activation::silu, 0}};

std::vector<uint32_t> consecutive(uint32_t count) {
  std::vector<uint32_t> numbers(count);
  for (uint32_t n = 0; n < count; ++n) numbers[n] = n;
  return numbers;
}

// With gaps, as a placement chooses them; some have changed places.
std::vector<uint32_t> scattered(Random& random, uint32_t count) {
  std::vector<uint32_t> numbers;
  for (uint32_t n = 2; numbers.size() < count; n += 1 + random_bits(random) % 3) numbers.push_back(n);
  for (uint32_t i = 5; i + 7 < count; i += 11) std::swap(numbers[i], numbers[i + 7]);
  return numbers;
}

// Whole groups that share a block of weights, with gaps between them.
std::vector<uint32_t> groups_of(WeightType type, uint32_t groups) {
  const auto each = static_cast<uint32_t>(columns_that_stay_together(type));
  std::vector<uint32_t> numbers;
  for (uint32_t g = 0; g < groups; ++g) {
    for (uint32_t i = 0; i < each; ++i) numbers.push_back((g + g / 2) * each + i);
  }
  return numbers;
}

uint32_t ff_of(const std::vector<uint32_t>& numbers) {
  return *std::max_element(numbers.begin(), numbers.end()) + 37;
}

NeuronCase case_of(WeightType type, bool by_neuron, std::vector<uint32_t> numbers, const NeuronRule& rule, bool choose) {
  const uint32_t ff = ff_of(numbers);
  return {type, type, type, by_neuron, 256, ff, std::move(numbers), rule, choose};
}

TEST(every_type_and_activation_gives_the_cpus_sums) {
  Random random(1);
  for (const WeightType type : kTypes) {
    for (const NeuronRule& rule : kRules) {
      for (const bool choose : {false, true}) {
        check(random, case_of(type, true, scattered(random, 90), rule, choose), 1);
        check(random, case_of(type, false, groups_of(type, 3), rule, choose), 1);
      }
    }
  }
}

TEST(any_number_of_rows_gives_the_cpus_sums) {
  Random random(2);
  for (const unsigned rows : {2u, 3u, 4u, 8u, 9u, 33u}) {
    for (const WeightType type : {WeightType::q4_0, WeightType::q8_0, WeightType::f16}) {
      for (const bool choose : {false, true}) {
        NeuronCase by_neuron = case_of(type, true, scattered(random, 45), kRules[rows % 4], choose);
        NeuronCase by_output = case_of(type, false, groups_of(type, 2), kRules[rows % 4], choose);
        by_neuron.embd = by_output.embd = 64;
        check(random, by_neuron, rows);
        check(random, by_output, rows);
      }
    }
  }
}

// From some number on their gates and ups are those of all neurons; tiles have 64.
TEST(many_rows_give_the_cpus_sums) {
  Random random(8);
  for (const unsigned rows : {9u, 15u, 16u, 64u, 65u, 74u}) {
    for (const bool choose : {false, true}) {
      for (const NeuronRule& rule : kRules) {
        NeuronCase by_neuron = case_of(WeightType::q8_0, true, scattered(random, 45), rule, choose);
        by_neuron.gate = WeightType::q4_0;
        NeuronCase by_output = case_of(WeightType::f16, false, groups_of(WeightType::f16, 2), rule, choose);
        by_output.up = WeightType::q8_0;
        by_neuron.embd = by_output.embd = 64;
        by_neuron.first_inputs = {1, NAN, INFINITY};
        check(random, by_neuron, rows);
        check(random, by_output, rows);
      }
    }
  }
}

TEST(types_may_differ) {
  Random random(3);
  NeuronCase of = case_of(WeightType::q4_k, true, scattered(random, 70), kRules[0], true);
  of.down = WeightType::q6_k;
  check(random, of, 2);
  check(random, of, 16);
  of.gate = WeightType::f32;
  check(random, of, 2);
  of = case_of(WeightType::q4_0, false, groups_of(WeightType::q6_k, 2), kRules[2], false);
  of.down = WeightType::q6_k;
  check(random, of, 3);
  of.down = WeightType::f32;
  check(random, of, 3);
}

TEST(odd_sizes_give_the_cpus_sums) {
  Random random(4);
  for (const NeuronRule& rule : kRules) {
    for (const uint32_t neurons : {1u, 31u, 33u, 65u}) {
      for (const bool by_neuron : {false, true}) {
        NeuronCase of = case_of(WeightType::f32, by_neuron, consecutive(neurons), rule, false);
        of.embd = 37;
        of.ff = neurons;
        check(random, of, 1);
        of.gate = of.up = of.down = WeightType::bf16;
        of.embd = 1;
        of.choose = true;
        check(random, of, 2);
      }
    }
  }
  NeuronCase of = case_of(WeightType::q4_0, true, scattered(random, 2000), kRules[1], false);
  of.embd = 32;
  check(random, of, 1);
}

// With a first input far above the others, gates are as large as their first weights; of some 5 in 128 one is enough.
TEST(groups_that_no_row_needs_are_left_out) {
  Random random(5);
  const std::pair<WeightType, float> types[] = {
      {WeightType::q8_0, 0.75f * 127 * 400}, {WeightType::q4_k, 0.75f * 15 * 63 * 400}, {WeightType::f32, 0.96f * 400}};
  for (const auto& [type, threshold] : types) {
    NeuronCase of = case_of(type, false, groups_of(type, 6), {Activation::relu, 1e9f}, false);
    for (const unsigned rows : {1u, 2u}) check(random, of, rows);
    of.rule.threshold = threshold;
    of.first_inputs = {400, 0, 0, 400};
    for (const unsigned rows : {1u, 2u, 8u}) check(random, of, rows);
  }
}

TEST(inputs_that_are_no_numbers_touch_no_other_row) {
  Random random(6);
  for (const WeightType type : {WeightType::q4_0, WeightType::q6_k, WeightType::f16}) {
    for (const NeuronRule& rule : kRules) {
      for (const bool by_neuron : {false, true}) {
        NeuronCase of = case_of(type, by_neuron, by_neuron ? scattered(random, 40) : groups_of(type, 1), rule, by_neuron);
        of.first_inputs = {1, NAN, INFINITY};
        check(random, of, 4);
        check(random, of, 17);
      }
    }
  }
}

TEST(odd_weights_give_the_cpus_sums) {
  Random random(7);
  for (const WeightType type : kTypes) {
    for (const Data data : kData) {
      for (const bool by_neuron : {false, true}) {
        NeuronCase of = case_of(type, by_neuron, by_neuron ? scattered(random, 60) : groups_of(type, 1), kRules[0], false);
        of.data = data;
        of.first_inputs = {1e-8f, 1e8f};
        check(random, of, 2);
        check(random, of, 9);
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
