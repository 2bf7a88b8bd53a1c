// What executors record of observed steps: against a forward pass in doubles, and bit for bit over placements.
#include <numeric>

#include "../engine/active_set.h"
#include "engine_recipes.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::Logits;
using test::Recipe;
using test::Reference;
using test::Rounding;
using test::TinyModel;
using test::Vector;
using test::describe;
using test::divided;
using test::for_each_gating;
using test::kTokens;
using test::recipe_of;

// Of one step with a row for every token.
struct Observed {
  std::vector<uint32_t> counts;   // [layers][ff]
  std::vector<float> strengths;   // [layers][ff]
  std::vector<float> residuals;   // [tokens][layers][embd]
  std::vector<bool> fired;        // [tokens][layers][ff]
  std::vector<uint64_t> active;   // [layers] as the timing records have it

  bool operator==(const Observed&) const = default;
};

Observed observe(const TinyModel& model, const Schedule& schedule, const std::vector<int32_t>& tokens,
                 uint32_t threads = 2, Residency residency = Residency::resident) {
  EngineStack stack(model, schedule,
                    {.residency = residency, .threads = threads, .observation = Observation::activations});
  stack.run_sequence(tokens, tokens.size());
  const ModelShape& shape = model.recipe().shape;
  Arena& arena = stack.arena();
  Observed observed;
  observed.active.resize(shape.layers);
  for (uint32_t l = 0; l < shape.layers; ++l) {
    observed.counts.insert(observed.counts.end(), arena.fired_counts(l), arena.fired_counts(l) + shape.ff);
    observed.strengths.insert(observed.strengths.end(), arena.fired_strengths(l), arena.fired_strengths(l) + shape.ff);
  }
  for (size_t t = 0; t < tokens.size(); ++t) {
    for (uint32_t l = 0; l < shape.layers; ++l) {
      const float* residual = arena.predictor_input(l) + t * shape.embd;
      observed.residuals.insert(observed.residuals.end(), residual, residual + shape.embd);
      for (size_t n = 0; n < shape.ff; ++n) {
        const uint32_t owner = schedule.layers[l].neuron_owner[n];
        observed.fired.push_back(is_active(arena.fired_set(owner, l) + t * active_words(shape.ff), n));
      }
    }
  }
  for (uint32_t e = 0; e < schedule.executors.size(); ++e) {
    for (const Timing& timing : stack.timings(e)) {
      if (timing.phase == Phase::hot || timing.phase == Phase::cold) observed.active[timing.layer] += timing.active;
    }
  }
  return observed;
}

// Largest difference of two vectors.
template <class A, class B>
double error_of(const A& a, const B& b) {
  CHECK_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = error <= largest ? largest : error;  // a NaN stays
  }
  return largest;
}

// [layers][ff] sums of |hidden| over the tokens.
Vector strengths_of(const Reference& reference, const ModelShape& shape) {
  Vector strengths(size_t{shape.layers} * shape.ff);
  const Vector& hiddens = reference.hiddens();
  for (size_t i = 0; i < hiddens.size(); ++i) strengths[i % strengths.size()] += std::abs(hiddens[i]);
  return strengths;
}

TEST(observations_are_those_of_the_forward_pass_in_doubles) {
  for (const WeightType type : {WeightType::f32, WeightType::f16}) {
    for (const bool down_by_neuron : {true, false}) {
      TinyModel model(recipe_of(type, down_by_neuron));
      const auto tokens = test::some_tokens(model, kTokens);
      test::set_relu_threshold(model, tokens);
      const ModelShape& shape = model.recipe().shape;
      Reference exact(model, Rounding());
      exact.run(tokens);
      double gate_error = 0, residual_error = 0, strength_error = 0;
      for (uint32_t run = 1; run <= 16; ++run) {
        Reference rounded(model, Rounding(run));
        rounded.run(tokens);
        gate_error = std::max(gate_error, error_of(rounded.gates(), exact.gates()));
        residual_error = std::max(residual_error, error_of(rounded.residuals(), exact.residuals()));
        strength_error =
            std::max(strength_error, error_of(strengths_of(rounded, shape), strengths_of(exact, shape)));
      }

      const Observed observed = observe(model, divided(model, 2, 1, true), tokens);
      CHECK_EQ(observed.fired.size(), exact.gates().size());
      size_t near = 0;
      std::vector<uint32_t> counts(size_t{shape.layers} * shape.ff);
      for (size_t i = 0; i < observed.fired.size(); ++i) {
        // Rounding may move a gate that is near the threshold across it.
        const double gate = exact.gates()[i];
        if (std::abs(gate - shape.relu_threshold) > 2 * gate_error) {
          CHECK_EQ(bool{observed.fired[i]}, gate >= shape.relu_threshold);
        } else {
          ++near;
        }
        counts[i % counts.size()] += observed.fired[i] ? 1 : 0;
      }
      CHECK(near * 100 < observed.fired.size());
      CHECK(observed.counts == counts);
      CHECK(error_of(observed.residuals, exact.residuals()) <= 2 * residual_error);
      CHECK(error_of(observed.strengths, strengths_of(exact, shape)) <= 2 * strength_error);
    }
  }
}

TEST(placement_threads_and_residency_change_no_observation) {
  for (const WeightType type : {WeightType::f16, WeightType::q4_0}) {
    for (const bool down_by_neuron : {true, false}) {
      for_each_gating(recipe_of(type, down_by_neuron), [](const TinyModel& model) {
        const auto tokens = test::some_tokens(model, 40);  // more than one tile
        const Observed one = observe(model, model.schedule(), tokens, 1);
        for (const Residency residency : {Residency::resident, Residency::mapped}) {
          if (observe(model, divided(model, 3, 2, true), tokens, 2, residency) != one) {
            test::fail(__FILE__, __LINE__, describe(model), ": three executors observe otherwise than one");
          }
        }
        const size_t ff = model.recipe().shape.ff;
        for (size_t l = 0; l < one.active.size(); ++l) {
          const auto first = one.counts.begin() + static_cast<std::ptrdiff_t>(l * ff);
          CHECK_EQ(std::accumulate(first, first + static_cast<std::ptrdiff_t>(ff), uint64_t{0}), one.active[l]);
        }
      });
    }
  }
}

TEST(with_a_predictor_only_those_it_let_fire_are_observed) {
  Recipe recipe = recipe_of(WeightType::q4_0, true);
  recipe.predictor_rank = 32;
  const TinyModel model(recipe);
  const auto tokens = test::some_tokens(model, kTokens);
  const Observed observed = observe(model, divided(model, 2, 0, false), tokens);
  recipe.predictor_rank = 0;
  const TinyModel exact(recipe);
  const Observed all = observe(exact, divided(exact, 2, 0, false), tokens);
  CHECK(observed.active[0] > 0);
  CHECK(observed.active[0] < all.active[0]);
}

TEST(steps_that_are_not_observed_leave_no_trace) {
  const TinyModel model(recipe_of(WeightType::q4_0, true));
  const auto tokens = test::some_tokens(model, kTokens);
  EngineStack stack(model, model.schedule(), {.observation = Observation::counts});
  stack.run_sequence(tokens, tokens.size());
  Arena& arena = stack.arena();
  const size_t neurons = size_t{model.recipe().shape.layers} * model.recipe().shape.ff;
  const std::vector<uint32_t> counts(arena.fired_counts(0), arena.fired_counts(0) + neurons);
  CHECK(std::accumulate(counts.begin(), counts.end(), uint64_t{0}) > 0);
  const StepRow row{tokens[0], static_cast<int32_t>(tokens.size()), 0, 1};
  const uint64_t step = arena.submit(&row, 1, false);
  CHECK(arena.completed().wait(step, {monotonic_ns() + test::kStepNs, 50'000, &arena.abort_flag()}) == WaitResult::reached);
  CHECK(std::equal(counts.begin(), counts.end(), arena.fired_counts(0)));
}

}  // namespace
}  // namespace thermocline
