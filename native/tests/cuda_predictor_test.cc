// The predictor on the card, emulated: the CPU's active sets.
#include "../engine/cuda/predictor.h"

#include "../engine/cuda/set_active.h"
#include <cmath>

#include "../engine/cpu/budgeted_memory.h"
#include "../engine/cpu/predictor.h"
#include "card.h"
#include "scratch.h"

namespace thermocline {
namespace {

using namespace test;

struct Case {
  WeightType fc1, fc2;
  uint32_t embd, rank, ff;
};

// A matrix in the file's rows, for the CPU.
struct Stored {
  std::vector<Bytes> rows;
  Bytes bytes;
  Matrix matrix;

  Stored(Random& random, WeightType type, uint32_t count, uint32_t cols)
      : rows(random_rows(random, type, Data::random, cols, count)) {
    for (const Bytes& row : rows) bytes.insert(bytes.end(), row.begin(), row.end());
    matrix = {reinterpret_cast<const std::byte*>(bytes.data()), rows[0].size(), count, cols, type};
  }
};

std::vector<uint64_t> on_the_cpu(const Case& of, const Stored& fc1, const Stored& fc2, float threshold,
                                 const std::vector<float>& x, size_t rows, uint32_t& count) {
  EnginePlan plan{};
  plan.shape.embd = of.embd;
  plan.shape.ff = of.ff;
  plan.shape.predictor_threshold = threshold;
  TensorRef fc1_tensor{};
  fc1_tensor.rows = of.rank;
  ModelTensors tensors{};
  tensors.layers.emplace_back().fc1 = &fc1_tensor;
  MemoryLayout measured;
  Predictor(plan, tensors, rows, measured);
  BudgetedMemory memory(0);
  MemoryLayout scratch(memory.take(MemoryUse::scratch, measured.bytes()));
  Predictor predictor(plan, tensors, rows, scratch);
  LayerWeights weights{};
  weights.fc1 = fc1.matrix;
  weights.fc2 = fc2.matrix;
  std::vector<uint64_t> active(rows * active_words(of.ff), ~uint64_t{0});
  ThreadPool pool(1, {});
  count = predictor.run({pool, fusing_kernels()}, weights, x.data(), rows, active.data());
  return active;
}

void check(Random& random, const Case& of, size_t rows, float threshold, float first = 0) {
  const Stored fc1(random, of.fc1, of.rank, of.embd), fc2(random, of.fc2, of.ff, of.rank);
  std::vector<float> values = random_floats(random, Data::random, rows * of.embd);
  if (first != 0) values[0] = first;
  uint32_t expected_count = 0;
  const auto expected = on_the_cpu(of, fc1, fc2, threshold, values, rows, expected_count);

  CardMemory<std::byte> fc1_rows = card_rows(of.fc1, fc1.rows, of.embd);
  CardMemory<std::byte> fc2_rows = card_rows(of.fc2, fc2.rows, of.rank);
  CardMemory<float> x(values);
  CardMemory<uint64_t> active(expected.size());
  const auto most = static_cast<unsigned>(rows);  // of a step
  WithScratch<cuda::Predictor, CardMemory<std::byte>> predictor(of.embd, of.ff, most, of.rank);
  CardMemory<uint32_t> count(1, 5);
  predictor->run(nullptr, {fc1_rows.data(), of.fc1, of.rank, of.embd}, {fc2_rows.data(), of.fc2, of.ff, of.rank},
                 threshold, x.data(), most, active.data(), count.data());
  CHECK(active.values() == expected);
  CHECK_EQ(count[0], 5 + expected_count);
  if (threshold == 0 && first == 0) CHECK(expected_count > 0 && expected_count < rows * of.ff);
}

TEST(active_sets_are_the_cpus_for_every_type) {
  Random random(1);
  for (const WeightType type : kTypes) {
    if (!fuses(fusing_kernels()) && !cuda::wants_blocks(type)) continue;
    check(random, {type, type, 256, 256, 70}, 2, 0);
  }
  check(random, {WeightType::q8_0, WeightType::q4_k, 64, 256, 130}, 1, 0);
  if (!fuses(fusing_kernels())) return;
  check(random, {WeightType::f16, WeightType::q4_0, 33, 64, 130}, 1, 0);
  check(random, {WeightType::q4_0, WeightType::f32, 64, 17, 130}, 1, 0);
}

TEST(active_sets_are_the_cpus_for_any_number_of_rows_and_neurons) {
  Random random(2);
  for (const size_t rows : {1u, 2u, 3u, 8u, 9u, 33u, 64u, 65u, 130u}) {
    for (const uint32_t ff : {1u, 32u, 63u, 64u, 97u}) {
      check(random, {WeightType::q8_0, WeightType::q4_0, 32, 64, ff}, rows, ff < 32 ? -1e9f : 0);
    }
  }
}

TEST(a_logit_on_the_threshold_is_active_and_the_next_smaller_is_not) {
  const CardMemory<float> logits(std::vector<float>{0.5f, std::nextafter(0.5f, 0.0f), 0.75f, NAN, -0.5f, 0.5f});
  CardMemory<uint64_t> active(1, ~uint64_t{0});
  cuda::launch(nullptr, cuda::set_active, {{1}, 32}, logits.data(), 6u, 0.5f, active.data(), 1u,
               static_cast<uint32_t*>(nullptr));
  CHECK_EQ(active[0], 0b100101u);
}

TEST(a_row_that_holds_no_number_has_the_cpus_active_set) {
  Random random(3);
  check(random, {WeightType::q8_0, WeightType::q8_0, 32, 64, 97}, 2, 0, NAN);
  check(random, {WeightType::q8_0, WeightType::q8_0, 32, 64, 97}, 2, -1e9f, NAN);
}

}  // namespace
}  // namespace thermocline
