// The engine's logits against doubles.
#include <algorithm>

#include "engine_recipes.h"
#include "instruction_sets.h"
#include "reference.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Expected;
using test::Logits;
using test::Recipe;
using test::TinyModel;
using test::describe;
using test::divided;
using test::for_each_gating;
using test::kTokens;
using test::recipe_of;

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

TEST(layer_norms_with_and_without_weights_and_biases) {
  for (const WeightType type : {WeightType::f32, WeightType::q8_0}) {
    for (const bool weights : {true, false}) {
      for (const bool biases : {true, false}) {
        Recipe recipe{.type = type, .norm_weights = weights, .norm_biases = biases};
        recipe.shape.norm = Norm::layer;
        check_model(TinyModel(recipe), "layer norm");
      }
    }
  }
}

TEST(halves_of_heads_turn_together) {
  for (const uint32_t dims : {16u, 4u}) {
    Recipe recipe{.rope_factors = true};
    recipe.shape.rope_pairs = RopePairs::halves;
    recipe.shape.rope_dims = dims;
    check_model(TinyModel(recipe), "halves");
  }
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

}  // namespace
}  // namespace thermocline
