#include "../arena_check.h"
#include "../budget.h"
#include "cpu_device.h"
#include "load_weights.h"

namespace thermocline {
namespace {

const EnginePlan& valid(const EnginePlan& plan, const EngineOptions& options) {
  validate(plan);
  validate(options);
  return plan;
}

}  // namespace

MemoryNeeds cpu_memory_needs(const EnginePlan& plan, const EngineOptions& options) {
  valid(plan, options);
  const ModelTensors tensors = find_tensors(plan);
  const Share share = share_of(plan);
  MemoryLayout weights, kv_cache, scratch;
  const uint64_t weight_bytes =
      place_weights(tensors, share, plan.shape.activation, options.residency, nullptr, weights).bytes;
  const KvCache cache(plan, share.owned_layers, kv_cache);
  const Stages stages(plan, tensors, share, options.threads, scratch);
  return {weight_bytes, kv_cache.bytes(), scratch.bytes()};
}

CpuDevice::CpuDevice(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                     const CancelFlag& cancel)
    : plan_(valid(plan, options)),
      tensors_(find_tensors(plan_)),
      share_(share_of(plan_)),
      pool_(options.threads, options.pin_to),
      compute_{pool_, *options.kernels},
      memory_(options.budget_bytes) {
  const MemoryNeeds needs = cpu_memory_needs(plan_, options);
  check_budget(needs, options.budget_bytes);
  file_ = std::make_unique<WeightFile>(plan_.model_path, plan_.model_bytes);

  const bool resident = options.residency == Residency::resident;
  if (!resident) memory_.count(MemoryUse::weights, needs.weight_bytes);
  MemoryLayout memory(resident ? memory_.take(MemoryUse::weights, needs.weight_bytes) : nullptr);
  PlacedWeights placed =
      place_weights(tensors_, share_, plan_.shape.activation, options.residency, file_->data(), memory);
  load_weights(*file_, placed.copies, pool_, progress, cancel);
  weights_ = std::move(placed.weights);
  exchange_ = std::make_unique<CpuNeuronExchange>(
      NeuronExchange::Subject{plan_.schedule, tensors_, *file_, plan_.executor, share_}, weights_, pool_);

  MemoryLayout kv_cache(memory_.take(MemoryUse::kv_cache, needs.kv_cache_bytes));
  cache_ = std::make_unique<KvCache>(plan_, share_.owned_layers, kv_cache);
  MemoryLayout scratch(memory_.take(MemoryUse::scratch, needs.scratch_bytes));
  stages_ = std::make_unique<Stages>(plan_, tensors_, share_, options.threads, scratch);
  if (share_.owned_layers > 0) stages_->rope.set_frequencies(plan_.shape, weights_.rope_freqs);
}

// Positions that a slot held in an earlier arena are forgotten with its StepCheck: no row can attend to them.
void CpuDevice::begin(Arena& arena) {
  check_arena(arena.options(), plan_);
  pool_.pin_caller();
  session_ = std::make_unique<Session>(Session{arena, HandOver(arena, plan_.schedule, plan_.executor),
                                               PhaseTimer(arena.ring(plan_.executor), plan_.executor),
                                               StepCheck(plan_, arena.options().max_logit_rows)});
}

std::unique_ptr<Device> load_cpu_device(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                                        const CancelFlag& cancel) {
  return std::make_unique<CpuDevice>(plan, options, progress, cancel);
}

}  // namespace thermocline
