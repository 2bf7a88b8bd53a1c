// The engine's logits against themselves, bit for bit: over threads, chunks, batches, slots and executors.
#include <algorithm>

#include "engine_recipes.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Logits;
using test::Recipe;
using test::TinyModel;
using test::describe;
using test::divided;
using test::for_each_gating;
using test::types_of_every_path;

Recipe recipe_of(WeightType type, bool down_by_neuron, uint32_t predictor_rank) {
  Recipe recipe = test::recipe_of(type, down_by_neuron);
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
  for (const WeightType type : types_of_every_path()) {
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
