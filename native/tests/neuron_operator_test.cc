// Which neurons fire, and what they are worth, to the bit: gates below a threshold, on it and above it.
#include "../engine/cpu/neuron_operator.h"

#include <cmath>
#include <limits>

#include "../engine/cpu/budgeted_memory.h"
#include "../kernels/half.h"
#include "instruction_sets.h"
#include "weight_rows.h"

namespace thermocline {
namespace {

using test::Bytes;

constexpr uint32_t kEmbd = kBlock, kFf = kBlock;
constexpr size_t kRows = 3;
constexpr float kUp = 2;  // of odd neurons; of even ones its negative

// Gates of a type such that, of an input with `input` in front and zeros behind, they come out exactly as `values`.
struct Gates {
  WeightType type;
  Layout layout;
  float input;
  std::vector<float> values;  // [kFf]
  std::vector<Bytes> rows;    // of the matrix
};

Gates f32_gates(const std::vector<float>& values) {
  Gates gates{WeightType::f32, Layout::rows, 1, {}, {}};
  for (size_t n = 0; n < kFf; ++n) {
    gates.values.push_back(values[n % values.size()]);
    Bytes& row = gates.rows.emplace_back();
    test::append(row, gates.values.back());
    row.resize(row_bytes(gates.type, kEmbd));
  }
  return gates;
}

// An input of 127 is quantized with a scale of 1.
Gates q8_0_gates(Layout layout, float scale) {
  Gates gates{WeightType::q8_0, layout, 127, {}, {}};
  for (size_t n = 0; n < kFf; ++n) {
    const auto quant = static_cast<int8_t>(static_cast<int>(n) - 8);
    gates.values.push_back(scale * static_cast<float>(quant) * gates.input);
    Bytes& row = gates.rows.emplace_back();
    test::append(row, to_f16(scale));
    test::append(row, quant);
    row.resize(row_bytes(gates.type, kEmbd));
  }
  return gates;
}

// A matrix of given rows, and their bytes.
class Stored {
 public:
  Stored(WeightType type, Layout layout, const std::vector<Bytes>& rows) {
    const size_t bytes = rows[0].size();
    const bool panels = layout == Layout::panels;
    std::vector<const std::byte*> from;
    for (const Bytes& row : rows) from.push_back(reinterpret_cast<const std::byte*>(row.data()));
    bytes_.resize(rows.size() * bytes);
    auto* to = reinterpret_cast<std::byte*>(bytes_.data());
    for (size_t r = 0; r < rows.size(); r += panels ? kPanelRows : 1) {
      if (panels) {
        pack_panel(type, &from[r], kPanelRows, kEmbd, to + r * bytes);
      } else {
        std::memcpy(to + r * bytes, from[r], bytes);
      }
    }
    matrix_ = {to, (panels ? kPanelRows : 1) * bytes, static_cast<uint32_t>(rows.size()), kEmbd, type, layout};
  }
  const Matrix& matrix() const { return matrix_; }

 private:
  Bytes bytes_;
  Matrix matrix_;
};

// Rows of f32 with value(r) in column column(r).
template <class Column, class Value>
Stored f32_matrix(const Column& column, const Value& value) {
  std::vector<Bytes> rows(kFf, Bytes(row_bytes(WeightType::f32, kEmbd)));
  for (size_t r = 0; r < kFf; ++r) test::put_at(rows[r], column(r) * sizeof(float), static_cast<float>(value(r)));
  return Stored(WeightType::f32, Layout::rows, rows);
}

float up_of(size_t neuron) { return neuron % 2 == 1 ? kUp : -kUp; }

struct Outcome {
  std::vector<double> out;  // [kRows][kEmbd]: neuron n adds to element n alone
  NeuronWork work;
};

Outcome run(const Kernels& kernels, const ModelShape& shape, const Gates& gates, bool down_by_neuron, float input,
            const uint64_t* active) {
  const Stored gate(gates.type, gates.layout, gates.rows);
  const Stored up = f32_matrix([](size_t) { return 0; }, up_of);
  const Stored down = f32_matrix([](size_t r) { return r; }, [](size_t) { return 1; });
  const NeuronWeights weights{gate.matrix(), up.matrix(), down.matrix(), down_by_neuron, false, true};

  EnginePlan plan{};
  plan.shape = shape;
  ModelTensors tensors{};
  tensors.layers.emplace_back().down_by_neuron = down_by_neuron;
  Share share{};
  std::vector<uint32_t>& numbers = share.layers.emplace_back().neurons;
  for (uint32_t n = 0; n < kFf; ++n) numbers.push_back(n);

  MemoryLayout measured;
  NeuronOperator(plan, tensors, share, kRows, 1, measured);
  BudgetedMemory memory(0);
  MemoryLayout scratch(memory.take(MemoryUse::scratch, measured.bytes()));
  NeuronOperator neurons(plan, tensors, share, kRows, 1, scratch);

  std::vector<float> h(kRows * kEmbd);
  for (size_t r = 0; r < kRows; ++r) h[r * kEmbd] = input;
  ThreadPool pool(1, {});
  Outcome outcome{std::vector<double>(kRows * kEmbd), {}};
  outcome.work = neurons.run({pool, kernels}, weights, numbers, h.data(), kRows, active, nullptr, outcome.out.data());
  return outcome;
}

ModelShape shape_of(Activation activation, float threshold) {
  ModelShape shape{};
  shape.embd = kEmbd;
  shape.ff = kFf;
  shape.activation = activation;
  shape.relu_threshold = threshold;
  return shape;
}

void check_gates(const Gates& gates, float threshold) {
  const std::vector<uint64_t> some(kRows, 0x5f0f3333);
  for (const Kernels* kernels : test::instruction_sets()) {
    for (const Activation activation : {Activation::relu, Activation::relu2}) {
      for (const bool down_by_neuron : {true, false}) {
        for (const uint64_t* active : {static_cast<const uint64_t*>(nullptr), some.data()}) {
          const Outcome outcome =
              run(*kernels, shape_of(activation, threshold), gates, down_by_neuron, gates.input, active);
          uint32_t fired = 0;
          for (size_t i = 0; i < kRows * kEmbd; ++i) {
            const size_t n = i % kEmbd;
            const float gate = gates.values[n];
            const bool fires = (active == nullptr || is_active(active, n)) && gate > 0 && gate >= threshold;
            const float up = up_of(n) * gates.input;
            fired += fires;
            CHECK_EQ(outcome.out[i], fires ? gate * (activation == Activation::relu2 ? std::max(up, 0.0f) : up) : 0);
          }
          CHECK_EQ(outcome.work.active, fired);
        }
      }
    }
  }
}

TEST(a_gate_on_the_threshold_fires_and_the_next_smaller_does_not) {
  constexpr float kThreshold = 0.01f;
  const float below = std::nextafter(kThreshold, 0.0f), above = std::nextafter(kThreshold, 1.0f);
  // Five values, so that each has neurons with ups of either sign.
  check_gates(f32_gates({kThreshold, below, -1, above, 1}), kThreshold);
}

TEST(without_a_threshold_every_gate_above_0_fires) {
  check_gates(f32_gates({0, std::numeric_limits<float>::denorm_min(), -0.0f, 1, -1}), 0);
}

TEST(quantized_gates_meet_the_threshold_in_rows_and_in_panels) {
  constexpr float kScale = 0x1p-7f;
  for (const Layout layout : {Layout::rows, Layout::panels}) {
    const Gates gates = q8_0_gates(layout, kScale);
    check_gates(gates, gates.values[12]);
    check_gates(gates, 0);
  }
}

TEST(a_gate_that_is_no_number_fires) {
  const Gates gates = f32_gates({1});
  for (const float threshold : {0.0f, 0.01f}) {
    for (const bool down_by_neuron : {true, false}) {
      const Outcome outcome = run(best_kernels(), shape_of(Activation::relu, threshold), gates, down_by_neuron, NAN,
                                  nullptr);
      CHECK_EQ(outcome.work.active, kRows * kFf);
      for (const double value : outcome.out) CHECK(std::isnan(value));
    }
  }
}

}  // namespace
}  // namespace thermocline
