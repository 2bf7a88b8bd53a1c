// The engine's logits: against doubles, and against themselves over threads, chunks, batches and executors.
#include <algorithm>

#include "engine_stack.h"
#include "instruction_sets.h"
#include "reference.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Expected;
using test::Logits;
using test::Recipe;
using test::TinyModel;

constexpr size_t kTokens = 7;

void check_close(const Logits& logits, const Expected& expected, const std::string& what, size_t first = 0) {
  const double error = expected.error_of(logits, first);
  if (!(error <= expected.tolerance)) {
    test::fail(__FILE__, __LINE__, what, ": off by ", error, ", rounding explains ", expected.tolerance);
  }
}

// Every instruction set, mapped and resident, on one executor. Returns what rounding explains.
double check_model(const TinyModel& model, const std::string& what) {
  const auto tokens = test::some_tokens(model, kTokens);
  const Expected expected = Expected::of(model, tokens);
  for (const Kernels* kernels : test::instruction_sets()) {
    Logits resident;
    for (const Residency residency : {Residency::resident, Residency::mapped}) {
      EngineStack stack(model, model.schedule(), {.residency = residency, .kernels = kernels});
      const Logits logits = stack.run_sequence(tokens, 3);
      CHECK_EQ(logits.size(), kTokens);
      check_close(logits, expected, what + " " + name_of(kernels->instruction_set));
      if (residency == Residency::resident) resident = logits;
      CHECK(logits == resident);
    }
  }
  return expected.tolerance;
}

std::string describe(const TinyModel& model) {
  const Recipe& recipe = model.recipe();
  return std::string(name_of(recipe.type)) + (recipe.down_by_neuron ? " ffn_down_t" : " ffn_down") + " activation " +
         std::to_string(static_cast<int>(recipe.shape.activation)) + " threshold " +
         std::to_string(recipe.shape.relu_threshold);
}

// Calls check(model) for each activation, and for the ReLUs with a threshold too. The K-quants' wide models take long
// under sanitizers: they get one of either kind, since gating does not depend on the weights' type.
template <class Check>
void for_each_gating(Recipe recipe, const Check& check) {
  const bool wide = block_elements(recipe.type) == kSuperBlock;
  for (const Activation activation : {Activation::relu, Activation::relu2, Activation::silu}) {
    recipe.shape.activation = activation;
    for (const bool threshold : {false, true}) {
      if (threshold && activation == Activation::silu) continue;
      if (wide && activation != Activation::silu && !(threshold && activation == Activation::relu)) continue;
      TinyModel model(recipe);
      if (threshold) test::set_relu_threshold(model, test::some_tokens(model, kTokens));
      check(model);
    }
  }
}

// A recipe in whose matrices every row is whole blocks: a K-quant's have 256 columns.
Recipe recipe_of(WeightType type, bool down_by_neuron) {
  Recipe recipe{.type = type, .down_by_neuron = down_by_neuron};
  if (block_elements(type) == kSuperBlock) {
    recipe.shape.layers = 2;
    recipe.shape.embd = kSuperBlock;
    recipe.shape.head_dim = recipe.shape.rope_dims = 64;
    recipe.shape.ff = 2 * kSuperBlock;
  }
  return recipe;
}

void check_type(WeightType type) {
  for (const bool down_by_neuron : {true, false}) {
    for_each_gating(recipe_of(type, down_by_neuron),
                    [](const TinyModel& model) { check_model(model, describe(model)); });
  }
}

TEST(f32_matches_the_reference) { check_type(WeightType::f32); }
TEST(f16_matches_the_reference) { check_type(WeightType::f16); }
TEST(q8_0_matches_the_reference) { check_type(WeightType::q8_0); }
TEST(q4_0_matches_the_reference) { check_type(WeightType::q4_0); }
TEST(q4_k_matches_the_reference) { check_type(WeightType::q4_k); }
TEST(q5_k_matches_the_reference) { check_type(WeightType::q5_k); }
TEST(q6_k_matches_the_reference) { check_type(WeightType::q6_k); }

// The cache's half precision blurs what attention touches. Without it f32 rounding alone is left, and one neuron's
// contribution, or a tenth of it, stands out by far.
TEST(ffn_alone_matches_the_reference_to_f32_rounding) {
  for (const WeightType type : {WeightType::f32, WeightType::f16}) {
    for (const bool down_by_neuron : {true, false}) {
      for_each_gating({.type = type, .down_by_neuron = down_by_neuron, .attention = false},
                      [](const TinyModel& model) { CHECK(check_model(model, "FFN alone " + describe(model)) < 1e-4); });
    }
  }
}

TEST(types_mix_within_a_layer) {
  using enum WeightType;
  const std::map<std::string, WeightType> types{
      {"token_embd", q8_0}, {"output", f16}, {"attn_q", q4_0}, {"attn_k", f32}, {"attn_v", q8_0},
      {"ffn_gate", f32},    {"ffn_up", q8_0}, {"ffn_down_t", f16}, {"ffn_down", q4_0}};
  for (const bool down_by_neuron : {true, false}) {
    check_model(TinyModel({.type = f16, .types = types, .down_by_neuron = down_by_neuron}), "mixed types");
  }
}

TEST(tied_head_rotary_factors_and_partial_rotation) {
  Recipe recipe{.tied = true, .rope_factors = true};
  recipe.shape.rope_dims = 12;
  recipe.shape.rope_scale = 0.5f;
  recipe.shape.rope_base = 500;
  check_model(TinyModel(recipe), "rotary variants");
}

TEST(sizes_that_are_no_multiple_of_anything) {
  for (const bool down_by_neuron : {true, false}) {
    Recipe recipe{.down_by_neuron = down_by_neuron};
    recipe.shape.embd = 53;
    recipe.shape.heads = 3;
    recipe.shape.kv_heads = 1;
    recipe.shape.head_dim = 10;
    recipe.shape.rope_dims = 10;
    recipe.shape.ff = 147;
    recipe.shape.vocab = 61;
    check_model(TinyModel(recipe), "odd sizes");
  }
}

// A threshold in the widest gap between the predictor's logits, so that rounding moves none across it.
void set_predictor_threshold(TinyModel& model) {
  test::Reference reference(model, test::Rounding{});
  reference.run(test::some_tokens(model, kTokens));
  test::Vector logits = reference.predictor_logits();
  std::sort(logits.begin(), logits.end());
  size_t widest = logits.size() / 4;
  for (size_t i = widest; i < logits.size() * 3 / 4; ++i) {
    if (logits[i + 1] - logits[i] > logits[widest + 1] - logits[widest]) widest = i;
  }
  model.set_predictor_threshold(static_cast<float>((logits[widest] + logits[widest + 1]) / 2));
}

TEST(predictor_limits_the_neurons) {
  for (const bool down_by_neuron : {true, false}) {
    Recipe recipe{.down_by_neuron = down_by_neuron, .predictor_rank = 24};
    recipe.shape.layers = 1;
    for_each_gating(recipe, [](TinyModel& model) {
      set_predictor_threshold(model);
      check_model(model, "predictor " + describe(model));
    });
  }
}

// Owners in turn, in groups as the down-projection's layout asks for.
Schedule divided(const TinyModel& model, uint32_t executors, uint32_t head, bool attention_moves) {
  Schedule schedule = model.schedule(executors);
  const Recipe& recipe = model.recipe();
  const size_t group = recipe.down_by_neuron ? 1 : std::max(kBlock, block_elements(recipe.type));
  for (uint32_t l = 0; l < schedule.layers.size(); ++l) {
    schedule.layers[l].attention = attention_moves ? l % executors : 0;
    for (size_t n = 0; n < schedule.layers[l].neuron_owner.size(); ++n) {
      schedule.layers[l].neuron_owner[n] = static_cast<uint8_t>((n / group + l) % executors);
    }
  }
  schedule.executors[0] = ExecutorKind::gpu;
  schedule.head = head;
  return schedule;
}

TEST(executors_share_the_neurons) {
  for (const WeightType type : {WeightType::f32, WeightType::q8_0}) {
    for (const bool down_by_neuron : {true, false}) {
      const TinyModel model({.type = type, .down_by_neuron = down_by_neuron});
      const auto tokens = test::some_tokens(model, kTokens);
      const Expected expected = Expected::of(model, tokens);
      for (const uint32_t executors : {2u, 3u}) {
        for (const bool attention_moves : {false, true}) {
          const Schedule schedule = divided(model, executors, executors - 1, attention_moves);
          EngineStack resident(model, schedule), mapped(model, schedule, {.residency = Residency::mapped});
          const Logits logits = resident.run_sequence(tokens, 3);
          check_close(logits, expected, std::to_string(executors) + " executors");
          CHECK(mapped.run_sequence(tokens, 3) == logits);
        }
      }
    }
  }
}

TEST(predicted_neurons_reach_the_peers) {
  Recipe recipe{.predictor_rank = 24};
  recipe.shape.layers = 1;
  TinyModel model(recipe);
  set_predictor_threshold(model);
  const auto tokens = test::some_tokens(model, kTokens);
  EngineStack stack(model, divided(model, 3, 0, false));
  check_close(stack.run_sequence(tokens, kTokens), Expected::of(model, tokens), "predictor with peers");
}

TEST(all_neurons_on_a_peer_and_layers_on_each_in_turn) {
  const TinyModel model({});
  const auto tokens = test::some_tokens(model, kTokens);
  const Expected expected = Expected::of(model, tokens);
  Schedule cold = model.schedule(2);
  for (LayerSchedule& layer : cold.layers) layer.neuron_owner.assign(layer.neuron_owner.size(), 1);
  EngineStack peer(model, cold);
  check_close(peer.run_sequence(tokens, 3), expected, "all on a peer");

  Schedule turns = model.schedule(2);
  for (uint32_t l = 0; l < turns.layers.size(); ++l) {
    turns.layers[l].attention = l % 2;
    turns.layers[l].neuron_owner.assign(turns.layers[l].neuron_owner.size(), static_cast<uint8_t>(l % 2));
  }
  turns.head = 1;
  EngineStack pipeline(model, turns);
  check_close(pipeline.run_sequence(tokens, 3), expected, "layers in turn");
}

Recipe recipe_of(WeightType type, bool down_by_neuron, uint32_t predictor_rank) {
  Recipe recipe = recipe_of(type, down_by_neuron);
  recipe.predictor_rank = predictor_rank;
  recipe.shape.ff = block_elements(type) == kSuperBlock ? 3 * kSuperBlock : 320;
  return recipe;
}

TEST(threads_and_chunks_change_no_bit) {
  for (const WeightType type : {WeightType::f32, WeightType::q4_0, WeightType::q5_k}) {
    for (const bool down_by_neuron : {true, false}) {
      const uint32_t rank = static_cast<uint32_t>(std::max(kBlock, block_elements(type)));
      const TinyModel model(recipe_of(type, down_by_neuron, rank));
      const auto tokens = test::some_tokens(model, 40);
      EngineStack one(model, model.schedule());
      const Logits expected = one.run_sequence(tokens, 1);
      for (const uint32_t threads : {1u, 2u, 3u, 4u}) {
        EngineStack stack(model, model.schedule(), {.threads = threads});
        // 40 rows are more than one tile.
        for (const size_t chunk : {1u, 7u, 40u}) CHECK(stack.run_sequence(tokens, chunk) == expected);
      }
    }
  }
}

TEST(placements_change_no_bit) {
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::q8_0, WeightType::q4_0,
                                WeightType::q4_k, WeightType::q5_k, WeightType::q6_k}) {
    for (const bool down_by_neuron : {true, false}) {
      for_each_gating(recipe_of(type, down_by_neuron, 0), [](const TinyModel& model) {
        const auto tokens = test::some_tokens(model, 12);
        EngineStack one(model, model.schedule());
        const Logits expected = one.run_sequence(tokens, 12);
        EngineStack three(model, divided(model, 3, 2, true));
        if (three.run_sequence(tokens, 12) != expected) {
          test::fail(__FILE__, __LINE__, describe(model), ": three executors give other logits than one");
        }
      });
    }
  }
}

TEST(executors_give_the_same_bits_again_and_in_every_chunking) {
  const TinyModel model(recipe_of(WeightType::q8_0, true, 0));
  const auto tokens = test::some_tokens(model, 40);
  const Schedule schedule = divided(model, 3, 1, true);
  EngineStack first(model, schedule);
  const Logits expected = first.run_sequence(tokens, 1);
  EngineStack second(model, schedule, {.threads = 2});
  CHECK(second.run_sequence(tokens, 13) == expected);
}

TEST(slots_do_not_see_each_other) {
  const TinyModel model({});
  const auto a = test::some_tokens(model, 5, 1), b = test::some_tokens(model, 5, 2), c = test::some_tokens(model, 5, 3);
  EngineStack stack(model, model.schedule());
  const Logits alone_a = stack.run_sequence(a, 5);
  const Logits alone_b = stack.run_sequence(b, 5);
  const Logits alone_c = stack.run_sequence(c, 5);
  // Seven rows of three slots: two of a, three of b, two of c; then the rest.
  const Logits first = stack.run({{a[0], 0, 0, 1}, {a[1], 1, 0, 0}, {b[0], 0, 2, 1}, {b[1], 1, 2, 1}, {b[2], 2, 2, 1},
                                  {c[0], 0, 1, 0}, {c[1], 1, 1, 1}});
  CHECK(first == (Logits{alone_a[0], alone_b[0], alone_b[1], alone_b[2], alone_c[1]}));
  const Logits second = stack.run({{b[3], 3, 2, 1}, {a[2], 2, 0, 1}, {c[2], 2, 1, 1}, {a[3], 3, 0, 1}});
  CHECK(second == (Logits{alone_b[3], alone_a[2], alone_c[2], alone_a[3]}));
}

TEST(a_slot_can_go_back) {
  const TinyModel model({});
  const auto tokens = test::some_tokens(model, 6), other = test::some_tokens(model, 6, 9);
  EngineStack stack(model, model.schedule());
  const Logits expected = stack.run_sequence(tokens, 6);
  stack.run_sequence(other, 6);
  CHECK(stack.run_sequence(tokens, 2) == expected);
  stack.run({{other[0], 3, 0, 0}, {other[1], 4, 0, 0}});
  const std::vector<int32_t> rest(tokens.begin() + 3, tokens.end());
  CHECK(stack.run_sequence(rest, 3, 0, 3) == Logits(expected.begin() + 3, expected.end()));
}

TEST(a_step_may_want_no_logits) {
  const TinyModel model({});
  EngineStack stack(model, model.schedule());
  CHECK_EQ(stack.run({{1, 0, 0, 0}}).size(), 0u);
  CHECK_EQ(stack.run({{1, 1, 0, 1}}).size(), 1u);
}

}  // namespace
}  // namespace thermocline
