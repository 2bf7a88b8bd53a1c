// Neurons that change places while steps run.
#include <algorithm>
#include <functional>
#include <thread>

#include "../engine/exchange.h"
#include "engine_recipes.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Logits;
using test::Recipe;
using test::TinyModel;
using test::describe;

constexpr size_t kExecutors = 3;
constexpr size_t kLength = 6;

Recipe recipe_of(WeightType type, bool predictor) {
  Recipe recipe = test::recipe_of(type, true);
  recipe.shape.layers = 2;
  if (predictor) recipe.predictor_rank = static_cast<uint32_t>(std::max(kBlock, block_elements(type)));
  return recipe;
}

// The first layer in three consecutive parts, the second in turn.
Schedule parts(const TinyModel& model) {
  Schedule schedule = model.schedule(kExecutors);
  for (size_t n = 0; n < schedule.layers[0].neuron_owner.size(); ++n) {
    schedule.layers[0].neuron_owner[n] = static_cast<uint8_t>(n * kExecutors / schedule.layers[0].neuron_owner.size());
    schedule.layers[1].neuron_owner[n] = static_cast<uint8_t>(n % kExecutors);
  }
  schedule.executors[0] = ExecutorKind::gpu;
  return schedule;
}

// Neurons of executor 0 with ones of 1, in the order of their numbers and against it, and some of 1 with ones of 2.
// The ends of consecutive neurons stay, so that the numbers alone look as if nothing had changed.
Exchange some_exchange(const Schedule& schedule, uint64_t number) {
  Exchange exchange{number, {}};
  for (uint32_t l = 0; l < schedule.layers.size(); ++l) {
    std::vector<uint32_t> of[kExecutors];
    const std::vector<uint8_t>& owner = schedule.layers[l].neuron_owner;
    for (uint32_t n = 0; n < owner.size(); ++n) of[owner[n]].push_back(n);
    LayerExchange pairs{l, {}, {}};
    const size_t shift = 3 * number;
    for (size_t i = 0; i < 8; ++i) {
      pairs.first.push_back(of[0][1 + shift + i]);
      pairs.second.push_back(of[1][1 + shift + (i % 2 == 0 ? i : 8 - i)]);
    }
    pairs.first.push_back(of[2][2 + shift]);
    pairs.second.push_back(of[1][12 + shift]);
    exchange.layers.push_back(pairs);
  }
  return exchange;
}

template <class Check>
void for_each_engine(const Check& check) {
  for (const WeightType type : {WeightType::f16, WeightType::q8_0, WeightType::q4_0, WeightType::q5_k}) {
    for (const bool predictor : {false, true}) {
      const TinyModel model(recipe_of(type, predictor));
      for (const Residency residency : {Residency::resident, Residency::mapped}) {
        check(model, test::StackOptions{.residency = residency, .threads = residency == Residency::resident ? 2u : 1u});
      }
    }
  }
}

TEST(exchanges_change_no_bit) {
  for_each_engine([](const TinyModel& model, const test::StackOptions& options) {
    const auto tokens = test::some_tokens(model, kLength);
    Schedule schedule = parts(model);
    EngineStack fresh(model, schedule, options);
    const Logits expected = fresh.run_sequence(tokens, kLength);
    EngineStack stack(model, schedule, options);
    for (const uint64_t number : {1u, 2u}) {
      const Exchange exchange = some_exchange(schedule, number);
      validate(exchange, schedule, find_tensors(model.plan(schedule, 0)));
      apply(exchange, schedule);
      // Staged while steps run; the third step applies it.
      std::thread stager([&] { stack.stage(exchange); });
      Logits logits = stack.run_sequence({tokens[0]}, 1);
      stager.join();
      for (auto& row : stack.run({{tokens[1], 1, 0, 1}})) logits.push_back(row);
      CHECK(!stack.device(0).exchanged());
      for (auto& row : stack.run({{tokens[2], 2, 0, 1}, {tokens[3], 3, 0, 1}}, number)) logits.push_back(row);
      for (uint32_t e = 0; e < kExecutors; ++e) CHECK(stack.device(e).exchanged());
      for (auto& row : stack.run_sequence({tokens[4], tokens[5]}, 1, 0, 4)) logits.push_back(row);
      if (logits != expected) test::fail(__FILE__, __LINE__, describe(model), ": an exchange changed the logits");
      // The weights that came are those that a load would have brought.
      EngineStack loaded(model, schedule, options);
      CHECK(loaded.run_sequence(tokens, kLength) == expected);
      CHECK(stack.run_sequence(tokens, kLength) == expected);
    }
  });
}

TEST(an_exchange_moves_the_work) {
  const TinyModel model(recipe_of(WeightType::q8_0, false));
  const auto tokens = test::some_tokens(model, kLength);
  Schedule schedule = parts(model);
  EngineStack stack(model, schedule);
  const Exchange exchange = some_exchange(schedule, 1);
  stack.stage(exchange);
  std::vector<StepRow> rows;
  for (size_t i = 0; i < kLength; ++i) rows.push_back({tokens[i], static_cast<int32_t>(i), 0, 1});
  stack.run(rows, 1);
  apply(exchange, schedule);
  EngineStack loaded(model, schedule);
  loaded.run(rows);
  size_t moved = 0;
  for (uint32_t e = 0; e < kExecutors; ++e) {
    const auto fired = [](const std::vector<Timing>& timings) {
      std::vector<uint32_t> counts;
      for (const Timing& timing : timings) {
        if (timing.phase == Phase::hot || timing.phase == Phase::cold) counts.push_back(timing.active);
      }
      return counts;
    };
    const std::vector<Timing> timings = stack.timings(e);
    CHECK(fired(timings) == fired(loaded.timings(e)));
    const auto applied = std::find_if(timings.begin(), timings.end(),
                                      [](const Timing& timing) { return timing.phase == Phase::exchange; });
    CHECK(applied != timings.end());
    CHECK_EQ(applied->layer, -1);
    moved += applied->bytes;
  }
  // Three rows for either neuron of nine pairs in two layers.
  CHECK_EQ(moved, 2u * 9 * 2 * 3 * row_bytes(WeightType::q8_0, model.recipe().shape.embd));
}

TEST(what_contradicts_itself_is_refused) {
  const TinyModel model(recipe_of(WeightType::f32, false));
  const Schedule schedule = parts(model);
  const auto device = test::load(model.plan(schedule, 0), test::engine_options());
  const CancelFlag cancel = false;
  const auto argument_of = [&](const Exchange& exchange) {
    try {
      device->stage(exchange, cancel);
    } catch (const Error& error) {
      CHECK_EQ(error.code(), ErrorCode::invalid_argument);
      return error.argument();
    }
    test::fail(__FILE__, __LINE__, "it was not refused");
  };
  const uint32_t ff = model.recipe().shape.ff;
  CHECK_EQ(argument_of({0, {{0, {0}, {ff - 1}}}}), "number");
  CHECK_EQ(argument_of({1, {{2, {0}, {ff - 1}}}}), "layers[0].layer");
  CHECK_EQ(argument_of({1, {{0, {0}, {ff - 1}}, {0, {1}, {ff - 2}}}}), "layers[1].layer");
  CHECK_EQ(argument_of({1, {{0, {0}, {}}}}), "layers[0].second");
  CHECK_EQ(argument_of({1, {{0, {ff}, {0}}}}), "layers[0].first[0]");
  CHECK_EQ(argument_of({1, {{0, {0}, {ff}}}}), "layers[0].second[0]");
  CHECK_EQ(argument_of({1, {{0, {0, 1}, {ff - 1, ff - 1}}}}), "layers[0].second[1]");
  CHECK_EQ(argument_of({1, {{0, {0, 0}, {ff - 1, ff - 2}}}}), "layers[0].first[1]");
  CHECK_EQ(argument_of({1, {{0, {0}, {1}}}}), "layers[0].second[0]");
  // What was refused left nothing behind.
  const uint64_t bytes = device->stage({1, {{0, {0}, {ff - 1}}}}, cancel);
  CHECK_EQ(bytes, 3u * row_bytes(WeightType::f32, model.recipe().shape.embd));
}

TEST(neurons_that_share_blocks_are_refused) {
  Recipe recipe = test::recipe_of(WeightType::f32, false);
  const TinyModel model(recipe);
  const Schedule schedule = test::divided(model, 2, 0, false);
  const auto device = test::load(model.plan(schedule, 0), test::engine_options());
  const CancelFlag cancel = false;
  CHECK_THROWS(device->stage({1, {{0, {0}, {kBlock}}}}, cancel), ErrorCode::unsupported);
}

TEST(a_step_that_names_an_exchange_nobody_staged_fails) {
  const TinyModel model(recipe_of(WeightType::f32, false));
  const Schedule schedule = parts(model);
  const uint32_t last = model.recipe().shape.ff - 1;
  const auto failure_of = [&](const std::function<void(Device&)>& before) {
    const auto device = test::load(model.plan(schedule, 0), test::engine_options());
    const auto arena = test::arena_for(model.plan(schedule, 0));
    before(*device);
    device->begin(*arena);
    const StepRow row{1, 0, 0, 1};
    arena->submit(&row, 1, false, 7);
    CHECK_THROWS(device->run(arena->step()), ErrorCode::invalid_argument);
    CHECK(!device->exchanged());
  };
  const CancelFlag cancel = true, go_on = false;
  failure_of([](Device&) {});
  failure_of([&](Device& device) { device.stage({6, {{0, {0}, {last}}}}, go_on); });
  const Exchange exchange{7, {{0, {0}, {last}}}};
  failure_of([&](Device& device) { CHECK_THROWS(device.stage(exchange, cancel), ErrorCode::cancelled); });
}

}  // namespace
}  // namespace thermocline
