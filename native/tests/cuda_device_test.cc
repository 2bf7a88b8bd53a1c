// A card's device beside CPU cores: the same logits, bit for bit, whatever is placed on it.
#include "../engine/cuda/cuda_device.h"

#include <algorithm>

#include "../engine/active_set.h"
#include "../engine/attention_chunks.h"
#include "../engine/cuda/card_needs.h"
#include "candidates.h"
#include "engine_recipes.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Logits;
using test::Recipe;
using test::StackOptions;
using test::TinyModel;
using test::describe;
using test::divided;
using test::for_each_gating;

std::unique_ptr<Device> load_on_card(const EnginePlan& plan, const EngineOptions& options) {
  const CancelFlag cancel = false;
  return std::make_unique<cuda::CudaDevice>(plan, options, nullptr, cancel);
}

// Executors of kind GPU are cards.
std::unique_ptr<Device> load_by_kind(const EnginePlan& plan, const EngineOptions& options) {
  const bool card = plan.schedule.executors[plan.executor] == ExecutorKind::gpu;
  return card ? load_on_card(plan, options) : test::load(plan, options);
}

// With fused multiply-adds, as a card has them.
StackOptions on_cpu() {
  const Kernels* fused = kernels_for(InstructionSet::avx2);
  return {.kernels = fused != nullptr ? fused : &best_kernels()};
}
StackOptions with_card() {
  StackOptions options = on_cpu();
  options.load = &load_by_kind;
  return options;
}

Recipe recipe_of(WeightType type, bool down_by_neuron, bool predictor) {
  Recipe recipe = test::recipe_of(type, down_by_neuron);
  recipe.shape.layers = 2;
  if (predictor) recipe.predictor_rank = static_cast<uint32_t>(std::max(kBlock, block_elements(type)));
  return recipe;
}

Schedule whole_on_card(const TinyModel& model) {
  Schedule schedule = model.schedule();
  schedule.executors[0] = ExecutorKind::gpu;
  return schedule;
}

void check_placements(const TinyModel& model) {
  const auto tokens = test::some_tokens(model, 11);
  const Logits expected = EngineStack(model, model.schedule(), on_cpu()).run_sequence(tokens, 11);
  const auto check = [&](const Schedule& schedule, size_t chunk, const char* what) {
    EngineStack stack(model, schedule, with_card());
    if (stack.run_sequence(tokens, chunk) != expected) {
      test::fail(__FILE__, __LINE__, describe(model), ", ", what, ": other logits than the CPU's");
    }
  };
  check(whole_on_card(model), 11, "all on the card");
  check(divided(model, 3, 0, true), 1, "layers' owners in turn, one row at a time");
  check(divided(model, 2, 1, false), 9, "the card owns all layers and not the head");
  Schedule helped = divided(model, 2, 1, false);
  for (LayerSchedule& layer : helped.layers) layer.attention = 1;
  check(helped, 4, "the card only helps");
}

TEST(rows_get_all_logits_or_the_highest_as_they_ask) {
  const TinyModel model(recipe_of(WeightType::q4_0, true, false));
  const auto tokens = test::some_tokens(model, 6);
  const Logits expected = EngineStack(model, model.schedule(), on_cpu()).run_sequence(tokens, 6);
  EngineStack stack(model, whole_on_card(model), with_card());
  std::vector<StepRow> rows;
  for (int32_t i = 0; i < 6; ++i) rows.push_back({tokens[static_cast<size_t>(i)], i, 0, 1, 0});
  const int32_t most = static_cast<int32_t>(kMostCandidates);
  rows[0].candidates = 3;
  rows[2].candidates = rows[3].candidates = rows[4].candidates = most;
  CHECK(stack.run(rows) == (Logits{expected[1], expected[5]}));
  const Candidate* found = stack.arena().candidates();
  for (const size_t row : {0, 2, 3, 4}) {
    test::check_candidates(found, expected[row], static_cast<size_t>(rows[row].candidates));
    found += kMostCandidates;
  }
  // And when nobody wants all.
  for (int32_t i = 0; i < 6; ++i) rows[static_cast<size_t>(i)] = {tokens[static_cast<size_t>(i)], i, 0, i == 5, 1};
  CHECK(stack.run(rows).empty());
  test::check_candidates(stack.arena().candidates(), expected[5], 1);
}

TEST(float_weights_anywhere_give_the_same_bits) {
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16}) {
    for (const bool down_by_neuron : {true, false}) check_placements(TinyModel(recipe_of(type, down_by_neuron, true)));
  }
}

TEST(quantized_weights_anywhere_give_the_same_bits) {
  for (const WeightType type : {WeightType::q8_0, WeightType::q4_0, WeightType::q4_k, WeightType::q6_k}) {
    for (const bool down_by_neuron : {true, false}) check_placements(TinyModel(recipe_of(type, down_by_neuron, false)));
  }
  check_placements(TinyModel(recipe_of(WeightType::q4_0, true, true)));
}

TEST(other_norms_and_rotations_give_the_same_bits) {
  for (const bool weights_and_biases : {true, false}) {
    Recipe recipe = recipe_of(WeightType::q8_0, true, false);
    recipe.shape.norm = Norm::layer;
    recipe.norm_weights = recipe.norm_biases = weights_and_biases;
    recipe.shape.rope_pairs = RopePairs::halves;
    recipe.shape.rope_dims = 12;
    check_placements(TinyModel(recipe));
  }
}

TEST(every_gating_gives_the_same_bits) {
  for_each_gating(recipe_of(WeightType::q4_0, true, false), check_placements);
}

// Attention is launched for as many positions as there are, in one kind of step after another.
TEST(a_sequence_of_several_chunks_gives_the_same_bits) {
  Recipe recipe = recipe_of(WeightType::f32, true, false);
  recipe.context_length = 2 * kChunkPositions + 9;
  recipe.shape.embd = recipe.shape.ff = kBlock;
  const TinyModel model(recipe);
  const auto tokens = test::some_tokens(model, recipe.context_length);
  const Logits expected = EngineStack(model, model.schedule(), on_cpu()).run_sequence(tokens, 40);
  EngineStack stack(model, whole_on_card(model), with_card());
  CHECK(stack.run_sequence(tokens, 40) == expected);
  // A slot that has few beside one that has many.
  const Logits both = stack.run({{tokens[0], 0, 1, 1}, {tokens.back(), static_cast<int32_t>(tokens.size()) - 1, 0, 1}});
  CHECK(both[0] == expected.front());
  CHECK(both[1] == expected.back());
}

TEST(what_is_taken_is_what_was_said) {
  const TinyModel model(recipe_of(WeightType::q4_0, true, true));
  EngineOptions options = test::engine_options();
  options.library = "card";
  for (uint32_t executor = 0; executor < 3; ++executor) {
    const EnginePlan plan = model.plan(divided(model, 3, 0, true), executor);
    const MemoryNeeds needs = memory_needs(plan, options);
    options.budget_bytes = needs.weight_bytes + needs.kv_cache_bytes + needs.scratch_bytes;
    const auto device = load_on_card(plan, options);
    CHECK_EQ(device->memory().weight_bytes, needs.weight_bytes);
    CHECK_EQ(device->memory().scratch_bytes, needs.scratch_bytes);
    --options.budget_bytes;
    ErrorCode code = ErrorCode::internal;
    try {
      load_on_card(plan, options);
    } catch (const Error& error) {
      code = error.code();
    }
    CHECK(code == ErrorCode::out_of_memory);
    options.budget_bytes = 0;
  }
}

TEST(more_executors_than_a_card_adds_up_are_refused) {
  const TinyModel model(recipe_of(WeightType::q4_0, true, false));
  EngineOptions options = test::engine_options();
  options.library = "card";
  memory_needs(model.plan(divided(model, 8, 0, true), 0), options);
  std::string argument;
  try {
    memory_needs(model.plan(divided(model, 9, 0, true), 0), options);
  } catch (const Error& error) {
    argument = error.argument();
  }
  CHECK_EQ(argument, "schedule.executors");
}

TEST(timings_tell_what_the_cpus_tell) {
  const TinyModel model(recipe_of(WeightType::q4_0, true, true));
  const Schedule schedule = divided(model, 2, 0, false);
  const auto told = [&](const StackOptions& options) {
    EngineStack stack(model, schedule, options);
    // Two rows are one tile, for which weights are read once, on either.
    stack.run_sequence(test::some_tokens(model, 6), 2);
    std::vector<std::vector<uint64_t>> records;
    for (const Timing& t : stack.timings(0)) {
      CHECK(t.end_ns >= t.start_ns);
      records.push_back({t.step, t.bytes, static_cast<uint64_t>(t.layer + 1), static_cast<uint64_t>(t.phase), t.rows,
                         t.active, t.placed});
    }
    return records;
  };
  const auto card = told(with_card()), cpu = told(on_cpu());
  CHECK_EQ(card.size(), cpu.size());
  for (size_t i = 0; i < card.size(); ++i) {
    for (size_t j = 0; j < card[i].size(); ++j) {
      if (card[i][j] == cpu[i][j]) continue;
      test::fail(__FILE__, __LINE__, "record ", i, ", number ", j, " is ", card[i][j], " instead of ", cpu[i][j]);
    }
  }
}

TEST(observed_steps_count_what_the_cpus_count) {
  for (const WeightType type : {WeightType::f16, WeightType::q8_0}) {
    const TinyModel model(recipe_of(type, true, true));
    const auto tokens = test::some_tokens(model, 6);
    const Schedule schedule = divided(model, 2, 0, true);
    const auto observed = [&](StackOptions options) {
      options.observation = Observation::activations;
      EngineStack stack(model, schedule, options);
      stack.run_sequence(tokens, 6);
      std::vector<double> all;
      const ModelShape& shape = model.recipe().shape;
      Arena& arena = stack.arena();
      for (uint32_t l = 0; l < shape.layers; ++l) {
        all.insert(all.end(), arena.fired_counts(l), arena.fired_counts(l) + shape.ff);
        all.insert(all.end(), arena.fired_strengths(l), arena.fired_strengths(l) + shape.ff);
        all.insert(all.end(), arena.predictor_input(l), arena.predictor_input(l) + tokens.size() * shape.embd);
        for (uint32_t e = 0; e < 2; ++e) {
          const uint64_t* words = arena.fired_set(e, l);
          for (size_t i = 0; i < tokens.size() * active_words(shape.ff); ++i) all.push_back(static_cast<double>(words[i]));
        }
      }
      return all;
    };
    CHECK(observed(with_card()) == observed(on_cpu()));
  }
}

// Every `step`th pair of neighbours, which are never on the same of two executors.
Exchange exchange_of(const TinyModel& model, uint64_t number, uint32_t step) {
  Exchange exchange{number, {}};
  for (uint32_t l = 0; l < model.recipe().shape.layers; ++l) {
    LayerExchange pairs{l, {}, {}};
    for (uint32_t n = 0; n + 1 < model.recipe().shape.ff; n += 2 * step) {
      pairs.first.push_back(n);
      pairs.second.push_back(n + 1);
    }
    exchange.layers.push_back(pairs);
  }
  return exchange;
}

void check_exchanges(const TinyModel& model) {
  const auto tokens = test::some_tokens(model, 2);
  EngineStack stack(model, divided(model, 2, 0, false), with_card());
  const Logits expected = stack.run_sequence(tokens, 2);
  // More rows than before, and fewer.
  uint64_t number = 0;
  for (const uint32_t step : {3, 1, 4}) {
    stack.stage(exchange_of(model, ++number, step));
    CHECK(!stack.device(0).exchanged());
    const Logits first = stack.run({{tokens[0], 0, 0, 1}}, number);
    CHECK(stack.device(0).exchanged());
    if (first.front() != expected.front() || stack.run_sequence(tokens, 2) != expected) {
      test::fail(__FILE__, __LINE__, describe(model), ": exchange ", number, " changed the logits");
    }
  }
}

TEST(neurons_that_change_places_change_no_bit) {
  for (const WeightType type : test::types_of_every_path()) {
    Recipe recipe = recipe_of(type, true, type == WeightType::q4_0);
    // Rows of an odd number of pieces, and of more than a block of threads has threads.
    if (type == WeightType::q8_0) recipe.shape.embd = 5 * kBlock;
    if (type == WeightType::f16) {
      recipe.shape.embd = 33 * kBlock;
      recipe.shape.ff = kBlock;
    }
    check_exchanges(TinyModel(recipe));
  }
}

// Rows of three types, each of its own length.
TEST(rows_of_a_neuron_may_differ) {
  Recipe recipe = recipe_of(WeightType::q8_0, true, true);
  recipe.types = {{"ffn_gate", WeightType::f16}, {"ffn_up", WeightType::q4_0}, {"ffn_down", WeightType::bf16}};
  check_exchanges(TinyModel(recipe));
}

// What one has staged for it in vain is forgotten with the next.
TEST(an_exchange_may_take_anothers_place) {
  const TinyModel model(recipe_of(WeightType::f32, true, false));
  const auto tokens = test::some_tokens(model, 6);
  EngineStack stack(model, divided(model, 2, 0, false), with_card());
  const Logits expected = stack.run_sequence(tokens, 6);
  stack.stage(exchange_of(model, 1, 1));
  stack.stage(exchange_of(model, 2, 5));
  CHECK(stack.run({{tokens[0], 0, 0, 1}}, 2).front() == expected.front());
  CHECK(stack.run_sequence(tokens, 6) == expected);
}

}  // namespace
}  // namespace thermocline
