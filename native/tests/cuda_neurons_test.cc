// A layer's neurons on the card, emulated: what the CPU's operator gives, for every type, activation and layout.
#include "../engine/cuda/neuron_operator.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "../engine/cpu/budgeted_memory.h"
#include "../engine/cpu/neuron_operator.h"
#include "card.h"
#include "scratch.h"

namespace thermocline {
namespace {

using namespace test;
using cuda::NeuronCounts;
using cuda::NeuronRule;

struct Case {
  WeightType gate, up, down;
  bool down_by_neuron;
  uint32_t embd, ff;
  std::vector<uint32_t> numbers;
  NeuronRule rule;
  bool choose = false;                 // by an active set
  Data data = Data::random;            // of half of the weights; the others are ordinary
  std::vector<float> first_inputs{};   // of the rows; others are random
};

// Rows in the file's order for the CPU, and as the card has them.
struct Stored {
  std::vector<Bytes> rows;
  Bytes bytes;
  CardMemory<std::byte> card;
  Matrix matrix;
  cuda::CardMatrix on_card;

  Stored(Random& random, WeightType type, Data data, uint32_t count, uint32_t cols)
      : rows(random_rows(random, type, data, cols, count)), card(0) {
    const auto ordinary = random_rows(random, type, Data::random, cols, count);
    for (uint32_t r = 0; r < count; r += 2) rows[r] = ordinary[r];
    for (const Bytes& row : rows) bytes.insert(bytes.end(), row.begin(), row.end());
    card = card_rows(type, rows, cols);
    matrix = {reinterpret_cast<const std::byte*>(bytes.data()), rows[0].size(), count, cols, type};
    on_card = {card.data(), type, count, cols};
  }
};

struct Outcome {
  std::vector<double> out;
  std::vector<uint32_t> counts;
  std::vector<float> strengths;
  std::vector<uint64_t> fired_set;
  uint32_t fired = 0;
  uint32_t gates = 0, ups = 0;  // read by the card
  uint64_t bytes = 0;

  // All of them hold something before.
  Outcome(uint32_t embd, uint32_t ff, size_t rows)
      : out(rows * embd, NAN), counts(ff, 3), strengths(ff, 0.25f), fired_set(rows * active_words(ff), 1ull << 40) {}
};

struct Layer {
  const Case& of;
  uint32_t neurons;
  Stored gate, up, down;

  Layer(Random& random, const Case& of)
      : of(of),
        neurons(static_cast<uint32_t>(of.numbers.size())),
        gate(random, of.gate, Data::random, neurons, of.embd),
        up(random, of.up, Data::random, neurons, of.embd),
        down(random, of.down, of.data, of.down_by_neuron ? neurons : of.embd, of.down_by_neuron ? of.embd : neurons) {}

  Outcome on_the_cpu(const std::vector<float>& h, size_t rows, const std::vector<uint64_t>& active) const {
    const bool ascending = std::is_sorted(of.numbers.begin(), of.numbers.end());
    const NeuronWeights weights{gate.matrix, up.matrix, down.matrix, of.down_by_neuron, true, ascending};
    EnginePlan plan{};
    plan.shape.embd = of.embd;
    plan.shape.ff = of.ff;
    plan.shape.activation = of.rule.activation;
    plan.shape.relu_threshold = of.rule.threshold;
    ModelTensors tensors{};
    tensors.layers.emplace_back().down_by_neuron = of.down_by_neuron;
    Share share{};
    share.layers.emplace_back().neurons = of.numbers;
    MemoryLayout measured;
    NeuronOperator(plan, tensors, share, rows, 1, measured);
    BudgetedMemory memory(0);
    MemoryLayout scratch(memory.take(MemoryUse::scratch, measured.bytes()));
    NeuronOperator neuron_operator(plan, tensors, share, rows, 1, scratch);
    ThreadPool pool(1, {});
    Outcome outcome(of.embd, of.ff, rows);
    const NeuronObserver observer{outcome.counts.data(), outcome.strengths.data(), outcome.fired_set.data(),
                                  active_words(of.ff)};
    const NeuronWork work = neuron_operator.run({pool, fusing_kernels()}, weights, of.numbers, h.data(), rows,
                                                active.empty() ? nullptr : active.data(), &observer, outcome.out.data());
    outcome.fired = work.active;
    outcome.bytes = work.bytes;
    return outcome;
  }

  Outcome on_the_card(const std::vector<float>& values, unsigned rows, const std::vector<uint64_t>& active) {
    CardMemory<float> h(values);
    CardMemory<Q8Activation> quantized(values.size() / kBlock);
    if (of.embd % kBlock == 0) best_kernels().quantize(values.data(), quantized.data(), values.size());
    const unsigned by_neuron = of.down_by_neuron ? neurons : 0, by_output = neurons - by_neuron;
    WithScratch<cuda::NeuronOperator, CardMemory<std::byte>> neuron_operator(of.embd, rows, by_neuron, by_output);
    Outcome outcome(of.embd, of.ff, rows);
    const CardMemory<uint32_t> numbers(of.numbers);
    const CardMemory<uint64_t> set(active);
    CardMemory<double> out(outcome.out);
    CardMemory<uint32_t> fired(outcome.counts);
    CardMemory<float> strengths(outcome.strengths);
    CardMemory<uint64_t> fired_set(outcome.fired_set);
    const cuda::CardObserver observer{fired.data(), strengths.data(), fired_set.data(),
                                      static_cast<unsigned>(active_words(of.ff))};
    CardMemory<NeuronCounts> card_counts(1, {});
    neuron_operator->run(nullptr, {gate.on_card, up.on_card, down.on_card, of.down_by_neuron, numbers.data()}, of.rule,
                        {h.data(), quantized.data(), of.embd}, rows, active.empty() ? nullptr : set.data(), of.ff,
                        &observer, out.data(), card_counts.data());
    const NeuronCounts counts = card_counts[0];
    outcome.out = out.values();
    outcome.counts = fired.values();
    outcome.strengths = strengths.values();
    outcome.fired_set = fired_set.values();
    outcome.fired = counts.fired;
    outcome.gates = counts.gates;
    outcome.ups = counts.ups;
    const uint64_t down_bytes = of.down_by_neuron ? row_bytes(of.down, of.embd) * counts.downs
                                                  : of.embd * row_bytes(of.down, counts.downs);
    outcome.bytes = counts.gates * row_bytes(of.gate, of.embd) + counts.ups * row_bytes(of.up, of.embd) + down_bytes;
    return outcome;
  }
};

// Floats and SiLU have the card's bits only where the CPU fuses, too.
bool can_compare(const Case& of) {
  return fuses(fusing_kernels()) || (wants_quantized_activation(of.gate) && wants_quantized_activation(of.up) &&
                                     of.rule.activation != Activation::silu);
}

void check(Random& random, const Case& of, unsigned rows) {
  if (!can_compare(of)) return;
  Layer layer(random, of);
  std::vector<float> h = random_floats(random, Data::random, size_t{rows} * of.embd);
  for (size_t r = 0; r < std::min<size_t>(rows, of.first_inputs.size()); ++r) h[r * of.embd] = of.first_inputs[r];
  std::vector<uint64_t> active(rows * active_words(of.ff));
  for (uint64_t& word : active) word = random_bits(random) | uint64_t{random_bits(random)} << 32;
  if (!of.choose) active.clear();  // visits all

  const Outcome expected = layer.on_the_cpu(h, rows, active), actual = layer.on_the_card(h, rows, active);
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

Case case_of(WeightType type, bool by_neuron, std::vector<uint32_t> numbers, const NeuronRule& rule, bool choose) {
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
        Case by_neuron = case_of(type, true, scattered(random, 45), kRules[rows % 4], choose);
        Case by_output = case_of(type, false, groups_of(type, 2), kRules[rows % 4], choose);
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
        Case by_neuron = case_of(WeightType::q8_0, true, scattered(random, 45), rule, choose);
        by_neuron.gate = WeightType::q4_0;
        Case by_output = case_of(WeightType::f16, false, groups_of(WeightType::f16, 2), rule, choose);
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
  Case of = case_of(WeightType::q4_k, true, scattered(random, 70), kRules[0], true);
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
        Case of = case_of(WeightType::f32, by_neuron, consecutive(neurons), rule, false);
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
  Case of = case_of(WeightType::q4_0, true, scattered(random, 2000), kRules[1], false);
  of.embd = 32;
  check(random, of, 1);
}

// With a first input far above the others, gates are as large as their first weights; of some 5 in 128 one is enough.
TEST(groups_that_no_row_needs_are_left_out) {
  Random random(5);
  const std::pair<WeightType, float> types[] = {
      {WeightType::q8_0, 0.75f * 127 * 400}, {WeightType::q4_k, 0.75f * 15 * 63 * 400}, {WeightType::f32, 0.96f * 400}};
  for (const auto& [type, threshold] : types) {
    Case of = case_of(type, false, groups_of(type, 6), {Activation::relu, 1e9f}, false);
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
        Case of = case_of(type, by_neuron, by_neuron ? scattered(random, 40) : groups_of(type, 1), rule, by_neuron);
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
        Case of = case_of(type, by_neuron, by_neuron ? scattered(random, 60) : groups_of(type, 1), kRules[0], false);
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
