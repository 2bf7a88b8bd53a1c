// Executors in threads of one process around one arena.
#pragma once

#include <thread>

#include "../engine/engine.h"
#include "tiny_model.h"

namespace thermocline::test {

inline std::unique_ptr<Device> load(const EnginePlan& plan, const EngineOptions& options) {
  const CancelFlag cancel = false;
  return load_device(plan, options, nullptr, cancel);
}

struct StackOptions {
  Residency residency = Residency::resident;
  uint32_t threads = 1;
  const Kernels* kernels = &best_kernels();
  Observation observation = Observation::none;  // of every step
  std::unique_ptr<Device> (*load)(const EnginePlan&, const EngineOptions&) = &test::load;
};

inline EngineOptions engine_options(const StackOptions& options = {}) {
  return {.residency = options.residency, .budget_bytes = 0, .threads = options.threads, .pin_to = {},
          .kernels = options.kernels};
}

inline std::unique_ptr<Arena> arena_for(const EnginePlan& plan, Observation observation = Observation::none) {
  return Arena::create({.executors = static_cast<uint32_t>(plan.schedule.executors.size()),
                        .layers = plan.shape.layers, .embd = plan.shape.embd, .ff = plan.shape.ff,
                        .vocab = plan.shape.vocab, .max_rows = plan.max_rows, .max_logit_rows = plan.max_rows,
                        .observation = observation});
}

inline constexpr int64_t kStepNs = 60'000'000'000;

using Logits = std::vector<std::vector<float>>;

class EngineStack {
 public:
  EngineStack(const TinyModel& model, const Schedule& schedule, const StackOptions& options = {})
      : vocab_(model.recipe().shape.vocab), arena_(arena_for(model.plan(schedule, 0), options.observation)) {
    for (uint32_t e = 0; e < schedule.executors.size(); ++e) {
      devices_.push_back(options.load(model.plan(schedule, e), engine_options(options)));
    }
    outcomes_.resize(devices_.size());
    for (uint32_t e = 0; e < devices_.size(); ++e) {
      threads_.emplace_back([this, e] { outcomes_[e] = serve(*devices_[e], *arena_, e, stop_, steps_); });
    }
  }
  ~EngineStack() { stop(); }

  // Logits of the rows that want all of them, the exchange applied before. Fails the test when the step fails.
  Logits run(const std::vector<StepRow>& rows, uint64_t exchange = 0) {
    const uint64_t step = arena_->submit(rows.data(), static_cast<uint32_t>(rows.size()),
                                         arena_->options().observation != Observation::none, exchange);
    const WaitResult result =
        arena_->completed().wait(step, {monotonic_ns() + kStepNs, 50'000, &arena_->abort_flag()});
    if (result != WaitResult::reached) {
      fail(__FILE__, __LINE__, "step ", step, ": ", arena_->failure() ? arena_->failure()->message : "timed out");
    }
    Logits logits;
    for (const StepRow& row : rows) {
      if (row.wants_logits == 0 || row.candidates != 0) continue;
      const float* from = arena_->logits() + logits.size() * vocab_;
      logits.emplace_back(from, from + vocab_);
    }
    return logits;
  }

  // Logits after each of `tokens`, which continue `slot` at `position`, in steps of at most `chunk` rows.
  Logits run_sequence(const std::vector<int32_t>& tokens, size_t chunk, int32_t slot = 0, int32_t position = 0) {
    Logits all;
    for (size_t first = 0; first < tokens.size(); first += chunk) {
      std::vector<StepRow> rows;
      for (size_t i = first; i < std::min(tokens.size(), first + chunk); ++i) {
        rows.push_back({tokens[i], position + static_cast<int32_t>(i), slot, 1});
      }
      for (auto& row : run(rows)) all.push_back(std::move(row));
    }
    return all;
  }

  void stage(const Exchange& exchange) {
    const CancelFlag cancel = false;
    for (const auto& device : devices_) device->stage(exchange, cancel);
  }

  // How each executor's serve() ended.
  const std::vector<std::optional<StepFailure>>& stop() {
    stop_ = true;
    return join();
  }
  const std::vector<std::optional<StepFailure>>& join() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return outcomes_;
  }

  Arena& arena() { return *arena_; }
  Device& device(size_t executor) { return *devices_[executor]; }
  uint64_t steps() const { return steps_; }

  std::vector<Timing> timings(uint32_t executor) {
    std::vector<Timing> all(4096);
    uint64_t lost = 0;
    all.resize(arena_->ring(executor).read(all.data(), static_cast<uint32_t>(all.size()), lost));
    CHECK_EQ(lost, 0u);
    return all;
  }

 private:
  size_t vocab_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::unique_ptr<Arena> arena_;  // goes before the devices do, as executors' arenas do
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> steps_{0};
  std::vector<std::optional<StepFailure>> outcomes_;
  std::vector<std::thread> threads_;
};

// Tokens without a pattern.
inline std::vector<int32_t> some_tokens(const TinyModel& model, size_t count, uint32_t seed = 7) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % model.recipe().shape.vocab);
  return tokens;
}

}  // namespace thermocline::test
