// A layer's random neurons, and what the CPU's operator and the card's make of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../engine/cpu/budgeted_memory.h"
#include "../engine/cpu/neuron_operator.h"
#include "../engine/cuda/neuron_operator.h"
#include "card.h"
#include "scratch.h"

namespace thermocline::test {

struct NeuronCase {
  WeightType gate, up, down;
  bool down_by_neuron;
  uint32_t embd, ff;
  std::vector<uint32_t> numbers;
  cuda::NeuronRule rule;
  bool choose = false;                 // by an active set
  Data data = Data::random;            // of half of the weights; the others are ordinary
  std::vector<float> first_inputs{};   // of the rows; others are random
};

// Rows in the file's order for the CPU, and as the card has them.
struct StoredRows {
  std::vector<Bytes> rows;
  Bytes bytes;
  CardMemory<std::byte> card;
  Matrix matrix;
  cuda::CardMatrix on_card;

  StoredRows(Random& random, WeightType type, Data data, uint32_t count, uint32_t cols)
      : rows(random_rows(random, type, data, cols, count)), card(0) {
    const auto ordinary = random_rows(random, type, Data::random, cols, count);
    for (uint32_t r = 0; r < count; r += 2) rows[r] = ordinary[r];
    for (const Bytes& row : rows) bytes.insert(bytes.end(), row.begin(), row.end());
    card = card_rows(type, rows, cols);
    matrix = {reinterpret_cast<const std::byte*>(bytes.data()), rows[0].size(), count, cols, type};
    on_card = {card.data(), type, count, cols};
  }
};

struct NeuronOutcome {
  std::vector<double> out;
  std::vector<uint32_t> counts;
  std::vector<float> strengths;
  std::vector<uint64_t> fired_set;
  uint32_t fired = 0;
  uint32_t gates = 0, ups = 0;  // read by the card
  uint64_t bytes = 0;

  // All of them hold something before.
  NeuronOutcome(uint32_t embd, uint32_t ff, size_t rows)
      : out(rows * embd, NAN), counts(ff, 3), strengths(ff, 0.25f), fired_set(rows * active_words(ff), 1ull << 40) {}
};

struct NeuronLayer {
  const NeuronCase& of;
  uint32_t neurons;
  StoredRows gate, up, down;

  NeuronLayer(Random& random, const NeuronCase& of)
      : of(of),
        neurons(static_cast<uint32_t>(of.numbers.size())),
        gate(random, of.gate, Data::random, neurons, of.embd),
        up(random, of.up, Data::random, neurons, of.embd),
        down(random, of.down, of.data, of.down_by_neuron ? neurons : of.embd, of.down_by_neuron ? of.embd : neurons) {}

  NeuronOutcome on_the_cpu(const std::vector<float>& h, size_t rows, const std::vector<uint64_t>& active) const {
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
    NeuronOutcome outcome(of.embd, of.ff, rows);
    const NeuronObserver observer{outcome.counts.data(), outcome.strengths.data(), outcome.fired_set.data(),
                                  active_words(of.ff)};
    const NeuronWork work = neuron_operator.run({pool, fusing_kernels()}, weights, of.numbers, h.data(), rows,
                                                active.empty() ? nullptr : active.data(), &observer, outcome.out.data());
    outcome.fired = work.active;
    outcome.bytes = work.bytes;
    return outcome;
  }

  NeuronOutcome on_the_card(const std::vector<float>& values, unsigned rows, const std::vector<uint64_t>& active) {
    CardMemory<float> h(values);
    CardMemory<Q8Activation> quantized(values.size() / kBlock);
    if (of.embd % kBlock == 0) best_kernels().quantize(values.data(), quantized.data(), values.size());
    const unsigned by_neuron = of.down_by_neuron ? neurons : 0, by_output = neurons - by_neuron;
    WithScratch<cuda::NeuronOperator, CardMemory<std::byte>> neuron_operator(of.embd, rows, by_neuron, by_output);
    NeuronOutcome outcome(of.embd, of.ff, rows);
    const CardMemory<uint32_t> numbers(of.numbers);
    const CardMemory<uint64_t> set(active);
    CardMemory<double> out(outcome.out);
    CardMemory<uint32_t> fired(outcome.counts);
    CardMemory<float> strengths(outcome.strengths);
    CardMemory<uint64_t> fired_set(outcome.fired_set);
    const cuda::CardObserver observer{fired.data(), strengths.data(), fired_set.data(),
                                      static_cast<unsigned>(active_words(of.ff))};
    CardMemory<cuda::NeuronCounts> card_counts(1, {});
    neuron_operator->run(nullptr, {gate.on_card, up.on_card, down.on_card, of.down_by_neuron, numbers.data()}, of.rule,
                        {h.data(), quantized.data(), of.embd}, rows, active.empty() ? nullptr : set.data(), of.ff,
                        &observer, out.data(), card_counts.data());
    const cuda::NeuronCounts counts = card_counts[0];
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

}  // namespace thermocline::test
