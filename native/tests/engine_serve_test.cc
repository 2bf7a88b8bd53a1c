// The step loop: how it ends, what it leaves in the timing rings, and engines that move to another arena.
#include <algorithm>

#include "engine_stack.h"
#include "reference.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Expected;
using test::Recipe;
using test::TinyModel;

// Even neurons on executor 0, odd ones on executor 1.
Schedule evens_and_odds(const TinyModel& model) {
  Schedule schedule = model.schedule(2);
  for (LayerSchedule& layer : schedule.layers) {
    for (size_t n = 0; n < layer.neuron_owner.size(); ++n) layer.neuron_owner[n] = n % 2;
  }
  schedule.executors = {ExecutorKind::gpu, ExecutorKind::cpu};
  return schedule;
}

TEST(stopping_ends_every_loop_without_a_failure) {
  const TinyModel model({});
  EngineStack stack(model, evens_and_odds(model));
  stack.run({{1, 0, 0, 1}});
  for (const auto& outcome : stack.stop()) CHECK(!outcome.has_value());
  CHECK(!stack.arena().aborted());
  CHECK_EQ(stack.steps(), 2u);
}

TEST(an_executor_without_a_part_lets_steps_pass) {
  const TinyModel model({});
  EngineStack stack(model, model.schedule(2));
  CHECK(stack.device(0).takes_part());
  CHECK(!stack.device(1).takes_part());
  stack.run_sequence(test::some_tokens(model, 10), 1);
  for (const auto& outcome : stack.stop()) CHECK(!outcome.has_value());
  CHECK_EQ(stack.steps(), 10u);
}

// Executor 1 is not there: executor 0 waits for its partial sum until somebody gives the step up.
TEST(an_abort_ends_a_step_at_once) {
  const TinyModel model({});
  const EnginePlan plan = model.plan(evens_and_odds(model), 0);
  const auto arena = test::arena_for(plan);
  const auto device = test::load(plan, test::engine_options());
  const std::atomic<bool> stop{false};
  std::atomic<uint64_t> steps{0};
  std::optional<StepFailure> outcome;
  const StepRow row{1, 0, 0, 1};
  const uint64_t step = arena->submit(&row, 1);
  std::thread executor([&] { outcome = serve(*device, *arena, 0, stop, steps); });
  const uint64_t input = plan.schedule.input_ready(step, 0);
  CHECK(arena->progress(0).wait(input, {monotonic_ns() + test::kStepNs, 0, &arena->abort_flag()}) ==
        WaitResult::reached);
  arena->fail({-1, ErrorCode::aborted, "executor 1 died"});
  executor.join();  // far sooner than its deadline, or the test's
  CHECK(outcome.has_value());
  CHECK_EQ(outcome->executor, -1);
  CHECK_EQ(outcome->message, "executor 1 died");
  CHECK_EQ(steps.load(), 0u);
}

TEST(an_abort_ends_an_idle_loop) {
  const TinyModel model({});
  EngineStack stack(model, evens_and_odds(model));
  stack.arena().fail({-1, ErrorCode::aborted, "enough"});
  for (const auto& outcome : stack.join()) CHECK_EQ(outcome->message, "enough");
}

TEST(one_executors_failure_ends_the_others) {
  const TinyModel model({});
  EngineStack stack(model, evens_and_odds(model));
  const StepRow row{1, 9, 0, 1};  // no position may be left out
  stack.arena().submit(&row, 1);
  for (const auto& outcome : stack.join()) {
    CHECK(outcome.has_value());
    CHECK_EQ(outcome->message, stack.arena().failure()->message);
    CHECK_EQ(name_of(outcome->code), std::string("invalid-argument"));
  }
}

// Fails where it is told to.
class HoldingDevice : public Device {
 public:
  enum class Fails { never, beginning, running };
  explicit HoldingDevice(Fails fails) : fails_(fails) {}

  const MemoryNeeds& memory() const override { return needs_; }
  uint32_t threads() const override { return 1; }
  bool takes_part() const override { return true; }
  void begin(Arena& arena) override {
    holds = &arena;
    fail_in(Fails::beginning);
  }
  void end() noexcept override { holds = nullptr; }
  void run(const Step&) override { fail_in(Fails::running); }
  uint64_t stage(const Exchange&, const CancelFlag&) override { return 0; }
  bool exchanged() const override { return true; }

  Arena* holds = nullptr;

 private:
  void fail_in(Fails part) const {
    if (part == fails_) throw Error(ErrorCode::system, "the device is lost");
  }

  Fails fails_;
  MemoryNeeds needs_{};
};

// Its memory is unmapped as soon as serve() has returned.
TEST(the_arena_is_let_go_of_however_steps_end) {
  const TinyModel model({});
  for (const auto fails : {HoldingDevice::Fails::never, HoldingDevice::Fails::beginning, HoldingDevice::Fails::running}) {
    HoldingDevice device(fails);
    const auto arena = test::arena_for(model.plan(model.schedule(), 0));
    const bool lost = fails != HoldingDevice::Fails::never;
    const std::atomic<bool> stop{!lost};
    std::atomic<uint64_t> steps{0};
    const StepRow row{1, 0, 0, 1};
    arena->submit(&row, 1);
    const auto outcome = serve(device, *arena, 0, stop, steps);
    CHECK_EQ(outcome.has_value(), lost);
    if (lost) CHECK_EQ(outcome->message, "the device is lost");
    CHECK(device.holds == nullptr);
  }
}

TEST(an_engine_serves_another_arena_with_an_empty_cache) {
  const TinyModel model({});
  const EnginePlan plan = model.plan(model.schedule(), 0);
  const auto device = test::load(plan, test::engine_options());
  std::vector<float> first;
  for (int round = 0; round < 2; ++round) {
    const auto arena = test::arena_for(plan);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> steps{0};
    std::optional<StepFailure> outcome;
    std::thread executor([&] { outcome = serve(*device, *arena, 0, stop, steps); });
    const StepRow rows[] = {{1, 0, 0, 0}, {2, 1, 0, 1}};
    const uint64_t step = arena->submit(rows, 2);
    CHECK(arena->completed().wait(step, {monotonic_ns() + test::kStepNs, 0, &arena->abort_flag()}) ==
          WaitResult::reached);
    const std::vector<float> logits(arena->logits(), arena->logits() + model.recipe().shape.vocab);
    if (round == 0) first = logits;
    CHECK(logits == first);
    stop = true;
    executor.join();
    CHECK(!outcome.has_value());
  }
}

std::vector<Timing> of_phase(const std::vector<Timing>& timings, Phase phase) {
  std::vector<Timing> found;
  std::copy_if(timings.begin(), timings.end(), std::back_inserter(found),
               [phase](const Timing& timing) { return timing.phase == phase; });
  return found;
}

TEST(timings_tell_one_executors_step) {
  const TinyModel model({.type = WeightType::q8_0});
  const ModelShape& shape = model.recipe().shape;
  EngineStack stack(model, model.schedule());
  const auto tokens = test::some_tokens(model, 3);
  const int64_t before = monotonic_ns();
  stack.run({{tokens[0], 0, 0, 0}, {tokens[1], 1, 0, 0}, {tokens[2], 2, 0, 1}});
  const auto timings = stack.timings(0);
  std::vector<Phase> phases;
  int64_t now = before;
  for (const Timing& timing : timings) {
    phases.push_back(timing.phase);
    CHECK(timing.start_ns >= now);
    CHECK(timing.end_ns >= timing.start_ns);
    now = timing.end_ns;
    CHECK_EQ(timing.step, 1u);
    CHECK_EQ(timing.executor, 0u);
    CHECK_EQ(timing.rows, 3u);
  }
  std::vector<Phase> expected{Phase::embed};
  for (uint32_t l = 0; l < shape.layers; ++l) {
    expected.insert(expected.end(), {Phase::attention, Phase::cold, Phase::merge});
  }
  expected.push_back(Phase::head);
  CHECK(phases == expected);
  CHECK_EQ(timings.front().bytes, 3 * row_bytes(WeightType::q8_0, shape.embd));
  CHECK_EQ(timings.front().layer, -1);
  CHECK_EQ(timings.back().layer, -1);
  CHECK_EQ(timings.back().bytes, shape.vocab * row_bytes(WeightType::q8_0, shape.embd) + shape.embd * 4);
  const size_t q = size_t{shape.heads} * shape.head_dim, kv = size_t{shape.kv_heads} * shape.head_dim;
  CHECK_EQ(timings[1].bytes, (q + 2 * kv) * row_bytes(WeightType::q8_0, shape.embd) +
                                 shape.embd * row_bytes(WeightType::q8_0, q) + 2 * shape.embd * 4);
}

TEST(timings_count_neurons_and_bytes) {
  using Case = std::pair<bool, bool>;
  for (const auto& [down_by_neuron, threshold] : {Case{true, false}, Case{false, false}, Case{true, true}}) {
    TinyModel model({.down_by_neuron = down_by_neuron});
    const ModelShape& shape = model.recipe().shape;
    const auto tokens = test::some_tokens(model, 1);
    if (threshold) test::set_relu_threshold(model, tokens);
    const Expected expected = Expected::of(model, tokens);
    EngineStack stack(model, model.schedule());
    stack.run_sequence(tokens, 1);
    const auto cold = of_phase(stack.timings(0), Phase::cold);
    CHECK_EQ(cold.size(), shape.layers);
    for (uint32_t l = 0; l < shape.layers; ++l) {
      CHECK_EQ(cold[l].layer, static_cast<int32_t>(l));
      CHECK_EQ(cold[l].active, expected.fired[l]);
      CHECK_EQ(cold[l].placed, shape.ff);
      const uint64_t row = shape.embd * sizeof(float);
      // Every group of 32 has a neuron that fires, so that all of ffn_down is read.
      const uint64_t down = down_by_neuron ? expected.fired[l] * row : shape.ff * row;
      CHECK_EQ(cold[l].bytes, shape.ff * row + expected.fired[l] * row + down);
    }
  }
}

TEST(timings_of_peers_are_there_when_the_step_completes) {
  Recipe recipe{.predictor_rank = 32};
  const TinyModel model(recipe);
  const uint32_t layers = recipe.shape.layers;
  EngineStack stack(model, evens_and_odds(model));
  for (int32_t step = 0; step < 20; ++step) {
    stack.run({{step, step, 0, 1}});
    const auto owner = stack.timings(0), peer = stack.timings(1);
    CHECK_EQ(of_phase(owner, Phase::hot).size(), layers);
    CHECK_EQ(of_phase(owner, Phase::predict).size(), layers);
    CHECK_EQ(of_phase(owner, Phase::wait).size(), layers);
    CHECK_EQ(of_phase(owner, Phase::merge).size(), layers);
    CHECK_EQ(of_phase(owner, Phase::cold).size(), 0u);
    CHECK_EQ(of_phase(peer, Phase::wait).size(), layers);
    CHECK_EQ(of_phase(peer, Phase::cold).size(), layers);
    CHECK_EQ(peer.size(), 2 * layers);
    for (const Timing& timing : peer) {
      CHECK_EQ(timing.placed, recipe.shape.ff / 2);
      CHECK_EQ(timing.executor, 1u);
    }
    // What the predictor took to be active is an upper bound of what fired on both sides.
    for (uint32_t l = 0; l < layers; ++l) {
      const uint32_t predicted = of_phase(owner, Phase::predict)[l].active;
      const uint32_t fired = of_phase(owner, Phase::hot)[l].active + of_phase(peer, Phase::cold)[l].active;
      CHECK(predicted > 0 && predicted < recipe.shape.ff);
      CHECK(fired > 0 && fired <= predicted);
    }
  }
}

}  // namespace
}  // namespace thermocline
