// What an executor takes is what memory_needs() said, to the byte, and never more than its budget.
#include "../engine/cpu/budgeted_memory.h"
#include "engine_stack.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::TinyModel;

uint64_t total(const MemoryNeeds& needs) { return needs.weight_bytes + needs.kv_cache_bytes + needs.scratch_bytes; }

// Half of the neurons in groups of 32 on executor 1, attention of layer 1 there too.
Schedule halves(const TinyModel& model) {
  Schedule schedule = model.schedule(2);
  for (LayerSchedule& layer : schedule.layers) {
    for (size_t n = 0; n < layer.neuron_owner.size(); ++n) layer.neuron_owner[n] = n / 32 % 2;
  }
  schedule.layers[1].attention = 1;
  return schedule;
}

TEST(what_is_taken_is_what_was_foretold) {
  for (const WeightType type : {WeightType::f32, WeightType::q4_0}) {
    for (const bool down_by_neuron : {true, false}) {
      const TinyModel model({.type = type, .down_by_neuron = down_by_neuron, .predictor_rank = 32});
      for (const Residency residency : {Residency::mapped, Residency::resident}) {
        for (const uint32_t threads : {1u, 3u}) {
          for (const uint32_t executor : {0u, 1u}) {
            const EnginePlan plan = model.plan(halves(model), executor);
            const EngineOptions options = test::engine_options({.residency = residency, .threads = threads});
            const MemoryNeeds needs = memory_needs(plan, options);
            const MemoryNeeds taken = test::load(plan, options)->memory();
            CHECK_EQ(taken.weight_bytes, needs.weight_bytes);
            CHECK_EQ(taken.kv_cache_bytes, needs.kv_cache_bytes);
            CHECK_EQ(taken.scratch_bytes, needs.scratch_bytes);
          }
        }
      }
    }
  }
}

TEST(the_kv_cache_holds_owned_layers_alone) {
  const TinyModel model({});
  const ModelShape& shape = model.recipe().shape;
  const EnginePlan plan = model.plan(halves(model), 1);
  const uint64_t a_layer = uint64_t{2} * plan.slots * plan.context_length * shape.kv_heads * shape.head_dim * 2;
  CHECK_EQ(memory_needs(plan, test::engine_options()).kv_cache_bytes, a_layer);
  CHECK_EQ(memory_needs(model.plan(halves(model), 0), test::engine_options()).kv_cache_bytes, 2 * a_layer);
}

TEST(mapped_weights_are_the_bytes_computed_with) {
  const TinyModel model({.type = WeightType::q8_0, .down_by_neuron = false});
  const EngineOptions mapped = test::engine_options({.residency = Residency::mapped});
  uint64_t file = 0;
  for (const TensorRef& ref : model.plan(model.schedule(), 0).tensors) {
    // Embeddings are looked up, a row a token.
    if (ref.name != "token_embd.weight") file += ref.rows * row_bytes(ref.type, ref.cols);
  }
  CHECK_EQ(memory_needs(model.plan(model.schedule(), 0), mapped).weight_bytes, file);
  const uint64_t divided = memory_needs(model.plan(halves(model), 0), mapped).weight_bytes +
                           memory_needs(model.plan(halves(model), 1), mapped).weight_bytes;
  CHECK_EQ(divided, file);
}

TEST(a_tied_head_is_copied_once) {
  const TinyModel tied({.tied = true}), untied({});
  const MemoryNeeds needs = memory_needs(tied.plan(tied.schedule(), 0), test::engine_options());
  CHECK_EQ(needs.weight_bytes, memory_needs(untied.plan(untied.schedule(), 0), test::engine_options()).weight_bytes);
}

TEST(scratch_for_many_rows_stays_small) {
  const TinyModel model({});
  EnginePlan plan = model.plan(model.schedule(2), 1);  // holds nothing
  CHECK_EQ(memory_needs(plan, test::engine_options()).scratch_bytes, 0u);
  for (LayerSchedule& layer : plan.schedule.layers) layer.neuron_owner.assign(layer.neuron_owner.size(), 1);
  plan.max_rows = 64;
  const uint64_t few = memory_needs(plan, test::engine_options()).scratch_bytes;
  plan.max_rows = 128;
  const uint64_t many = memory_needs(plan, test::engine_options()).scratch_bytes;
  // Of a neuron holder only the quantized inputs grow with the rows: accumulators are those of one tile.
  CHECK_EQ(many - few, 64 * sizeof(Q8Activation) * (model.recipe().shape.embd / kBlock));
}

TEST(the_budget_is_kept_to_the_byte) {
  const TinyModel model({});
  const EnginePlan plan = model.plan(model.schedule(), 0);
  for (const Residency residency : {Residency::mapped, Residency::resident}) {
    EngineOptions options = test::engine_options({.residency = residency});
    options.budget_bytes = total(memory_needs(plan, options));
    CHECK_EQ(total(test::load(plan, options)->memory()), options.budget_bytes);
    options.budget_bytes -= 1;
    CHECK_THROWS(test::load(plan, options), ErrorCode::out_of_memory);
  }
}

TEST(budgeted_memory_counts_every_byte) {
  BudgetedMemory memory(10000);
  std::byte* taken = memory.take(MemoryUse::kv_cache, 6000);
  for (size_t i = 0; i < 6000; ++i) CHECK(taken[i] == std::byte{0});
  memory.count(MemoryUse::weights, 3000);
  CHECK_THROWS(memory.take(MemoryUse::scratch, 1001), ErrorCode::out_of_memory);
  CHECK_EQ(total(memory.taken()), 9000u);
  memory.take(MemoryUse::scratch, 1000);
  CHECK_EQ(memory.taken().scratch_bytes, 1000u);
  CHECK(memory.take(MemoryUse::scratch, 0) == nullptr);
}

TEST(memory_the_system_does_not_have) {
  BudgetedMemory memory(0);
  CHECK_THROWS(memory.take(MemoryUse::kv_cache, uint64_t{1} << 60), ErrorCode::out_of_memory);
}

TEST(progress_runs_from_nothing_to_everything) {
  const TinyModel model({});
  for (const Residency residency : {Residency::mapped, Residency::resident}) {
    std::vector<std::pair<uint64_t, uint64_t>> reports;
    const CancelFlag cancel = false;
    load_device(model.plan(model.schedule(), 0), test::engine_options({.residency = residency}),
                    [&](uint64_t done, uint64_t all) { reports.emplace_back(done, all); }, cancel);
    CHECK(reports.size() >= 2);
    CHECK_EQ(reports.front().first, 0u);
    CHECK_EQ(reports.back().first, reports.back().second);
    CHECK(reports.back().second > 0);
  }
}

TEST(loading_can_be_cancelled) {
  const TinyModel model({});
  CancelFlag cancel = false;
  const auto cancel_at_once = [&](uint64_t, uint64_t) { cancel = true; };
  CHECK_THROWS(load_device(model.plan(model.schedule(), 0), test::engine_options(), cancel_at_once, cancel),
               ErrorCode::cancelled);
}

}  // namespace
}  // namespace thermocline
