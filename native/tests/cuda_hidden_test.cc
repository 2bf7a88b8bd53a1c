// Gates, which neurons fire, and their hidden values on the card, emulated: what the CPU's kernels make of the same rows.
#include <bit>
#include <cmath>

#include "../engine/cuda/gates.h"
#include "../engine/cuda/ups.h"
#include "card.h"

namespace thermocline {
namespace {

using namespace test;
using cuda::NeuronCounts;
using cuda::NeuronRule;

struct Case {
  WeightType gate, up;
  unsigned embd, neurons;
  NeuronRule rule;
  bool choose;  // by an active set
};

constexpr NeuronRule kRules[] = {
    {Activation::relu, 0}, {Activation::relu, 0.5f}, {Activation::relu2, 0}, {Activation::silu, 0}};

// Rows of activations in both forms.
struct Inputs {
  CardMemory<float> f32;
  CardMemory<Q8Activation> quantized;
  unsigned cols;

  Inputs(const std::vector<float>& values, unsigned cols)
      : f32(values), quantized(values.size() / kBlock), cols(cols) {
    if (cols % kBlock == 0) best_kernels().quantize(values.data(), quantized.data(), values.size());
  }
  cuda::CardInputs on_card() { return {f32.data(), quantized.data(), cols}; }
  Activations of(WeightType type, unsigned row) {
    if (wants_quantized_activation(type)) return {&quantized[row * (cols / kBlock)], 0, 1};
    return {&f32[row * cols], 0, 1};
  }
};

float product(WeightType type, const Bytes& row, const Activations& x, unsigned cols) {
  const auto* data = reinterpret_cast<const std::byte*>(row.data());
  float y;
  fusing_kernels().multiply_rows[index_of(type)](&data, 1, x, cols, &y, 1);
  return y;
}

float hidden_of(const NeuronRule& rule, float gate, float up) {
  switch (rule.activation) {
    case Activation::relu: return gate * up;
    case Activation::relu2: return gate * std::max(up, 0.0f);
    case Activation::silu: fusing_kernels().silu_times(&gate, &up, &gate, 1);
  }
  return gate;
}

// Numbers with gaps, out of order here and there.
std::vector<uint32_t> some_numbers(Random& random, unsigned neurons) {
  std::vector<uint32_t> numbers;
  uint32_t next = 3;
  for (unsigned i = 0; i < neurons; ++i) numbers.push_back(next += 1 + random_bits(random) % 3);
  for (unsigned i = 5; i + 7 < neurons; i += 11) std::swap(numbers[i], numbers[i + 7]);
  return numbers;
}

// Floats and SiLU have the card's bits only where the CPU fuses, too.
bool can_compare(const Case& of) {
  if (fuses(fusing_kernels())) return true;
  return wants_quantized_activation(of.gate) && wants_quantized_activation(of.up) &&
         of.rule.activation != Activation::silu;
}

template <unsigned X>
void check(Random& random, const Case& of, float first_input = 0) {
  if (!can_compare(of)) return;
  const auto gate = random_rows(random, of.gate, Data::random, of.embd, of.neurons);
  const auto up = random_rows(random, of.up, Data::random, of.embd, of.neurons);
  std::vector<float> values = random_floats(random, Data::random, size_t{X} * of.embd);
  if (first_input != 0) values[0] = first_input;
  Inputs h(values, of.embd);
  const CardMemory<uint32_t> numbers(some_numbers(random, of.neurons));
  const auto words = static_cast<unsigned>(active_words(numbers[of.neurons - 1] + 20));
  CardMemory<uint64_t> active(X * words);
  for (size_t i = 0; i < active.size(); ++i) active[i] = random_bits(random) | uint64_t{random_bits(random)} << 32;

  CardMemory<std::byte> gate_rows = card_rows(of.gate, gate, of.embd), up_rows = card_rows(of.up, up, of.embd);
  const unsigned stride = cuda::whole_words(of.neurons);
  CardMemory<float> gates(X * stride), hidden(X * stride);
  CardMemory<uint32_t> nonzero(X * stride / 32), fired(X * stride / 32);
  const cuda::TileNeurons tile{hidden.data(), nonzero.data(), fired.data(), stride};
  const cuda::Visited visited{of.choose ? active.data() : nullptr, words, numbers.data()};
  CardMemory<NeuronCounts> counts(1, {1, 1, 1, 1});
  cuda::find_gates<X>(nullptr, {gate_rows.data(), of.gate, of.neurons, of.embd}, visited, h.on_card(), 0, gates.data(),
                      stride);
  cuda::find_hidden<X>(nullptr, {up_rows.data(), of.up, of.neurons, of.embd}, of.rule, visited, h.on_card(), 0,
                       gates.data(), tile, counts.data());

  NeuronCounts expected{1, 1, 1, 1};
  for (unsigned n = 0; n < stride; ++n) {
    bool any_visited = false, any_fired = false;
    for (unsigned j = 0; j < X; ++j) {
      const bool visits = n < of.neurons && (!of.choose || is_active(&active[j * words], numbers[n]));
      const float g = visits ? product(of.gate, gate[n], h.of(of.gate, j), of.embd) : 0;
      const bool fires = visits && of.rule.fires(g);
      const float wanted = fires ? hidden_of(of.rule, g, product(of.up, up[n], h.of(of.up, j), of.embd)) : 0;
      any_visited |= visits;
      any_fired |= fires;
      expected.fired += fires;
      if (!same_value(hidden[j * stride + n], wanted)) {
        fail(__FILE__, __LINE__, name_of(of.gate), ", ", name_of(of.up), ", neuron ", n, " of ", of.neurons, ", row ",
             j, ": ", hidden[j * stride + n], " instead of ", wanted);
      }
      CHECK_EQ(nonzero[j * stride / 32 + n / 32] >> n % 32 & 1, wanted != 0);
      CHECK_EQ(fired[j * stride / 32 + n / 32] >> n % 32 & 1, fires);
    }
    expected.gates += any_visited;
    expected.ups += any_fired;
  }
  CHECK_EQ(counts[0].fired, expected.fired);
  CHECK_EQ(counts[0].gates, expected.gates);
  CHECK_EQ(counts[0].ups, expected.ups);
  CHECK_EQ(counts[0].downs, 1u);
}

TEST(hidden_values_are_the_cpus_bits_for_every_type) {
  Random random(1);
  for (const WeightType type : kTypes) {
    for (const NeuronRule& rule : kRules) {
      for (const bool choose : {false, true}) {
        check<1>(random, {type, type, 256, 70, rule, choose});
        check<8>(random, {type, type, 256, 37, rule, choose});
      }
    }
  }
}

TEST(gates_and_ups_may_have_different_types) {
  Random random(2);
  check<2>(random, {WeightType::q8_0, WeightType::q6_k, 256, 40, kRules[0], true});
  check<2>(random, {WeightType::f16, WeightType::q4_0, 64, 40, kRules[3], false});
  check<4>(random, {WeightType::q4_0, WeightType::f32, 64, 40, kRules[0], true});
}

TEST(hidden_values_are_the_cpus_bits_for_any_number_of_neurons) {
  Random random(3);
  for (const NeuronRule& rule : kRules) {
    for (const unsigned neurons : {1u, 7u, 8u, 9u, 31u, 32u, 33u, 65u}) {
      for (const bool choose : {false, true}) {
        check<1>(random, {WeightType::q8_0, WeightType::q8_0, 32, neurons, rule, choose});
        check<4>(random, {WeightType::q4_0, WeightType::q4_0, 96, neurons, rule, choose});
        check<1>(random, {WeightType::f16, WeightType::bf16, 45, neurons, rule, choose});
        check<2>(random, {WeightType::f32, WeightType::f32, 17, neurons, rule, choose});
      }
    }
  }
}

TEST(gates_on_the_threshold_fire_and_those_that_are_no_numbers) {
  const NeuronRule plain{Activation::relu, 0}, with_threshold{Activation::relu, 0.01f};
  CHECK(plain.fires(std::numeric_limits<float>::denorm_min()) && !plain.fires(0) && !plain.fires(-0.0f));
  CHECK(with_threshold.fires(0.01f) && !with_threshold.fires(std::nextafter(0.01f, 0.0f)));
  CHECK(plain.fires(NAN) && with_threshold.fires(NAN));
  Random random(4);
  for (const NeuronRule& rule : kRules) {
    for (const bool choose : {false, true}) {
      check<1>(random, {WeightType::q4_0, WeightType::q4_0, 64, 40, rule, choose}, NAN);
      check<2>(random, {WeightType::q8_0, WeightType::q8_0, 64, 40, rule, choose}, INFINITY);
    }
  }
}

}  // namespace
}  // namespace thermocline
