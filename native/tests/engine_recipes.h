// The models and placements that engines are tested with.
#pragma once

#include "engine_stack.h"
#include "reference.h"

namespace thermocline::test {

constexpr size_t kTokens = 7;

// Types whose weights are read along paths of their own. Which threads meet does not depend on the type: two are enough
// for the thread sanitizer, under which the others would take minutes.
inline std::vector<WeightType> types_of_every_path() {
  using enum WeightType;
#if defined(__SANITIZE_THREAD__)
  return {f32, q4_0};
#else
  return {f32, f16, q8_0, q4_0, q4_k, q5_k, q6_k};
#endif
}

inline std::string describe(const TinyModel& model) {
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
      if (threshold) set_relu_threshold(model, some_tokens(model, kTokens));
      check(model);
    }
  }
}

// A recipe in whose matrices every row is whole blocks: a K-quant's have 256 columns.
inline Recipe recipe_of(WeightType type, bool down_by_neuron) {
  Recipe recipe{.type = type, .down_by_neuron = down_by_neuron};
  if (block_elements(type) == kSuperBlock) {
    recipe.shape.layers = 2;
    recipe.shape.embd = kSuperBlock;
    recipe.shape.head_dim = recipe.shape.rope_dims = 64;
    recipe.shape.ff = 2 * kSuperBlock;
  }
  return recipe;
}

// Owners in turn, in groups as the down-projection's layout asks for.
inline Schedule divided(const TinyModel& model, uint32_t executors, uint32_t head, bool attention_moves) {
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

}  // namespace thermocline::test
