#include "card_needs.h"

#include "../kv_cache.h"
#include "card_stages.h"
#include "merge.h"

namespace thermocline::cuda {

MemoryNeeds card_memory_needs(const EnginePlan& plan, const EngineOptions& options) {
  validate(plan);
  validate(options);
  if (plan.schedule.executors.size() > kMostParts) {
    throw Error(ErrorCode::unsupported,
                "schedule.executors has " + std::to_string(plan.schedule.executors.size()) +
                    " executors; a card adds up the partial sums of at most " + std::to_string(kMostParts),
                "schedule.executors");
  }
  const ModelTensors tensors = find_tensors(plan);
  const Share share = share_of(plan);
  MemoryLayout weights, kv_cache, scratch;
  place_card_weights(tensors, share, weights);
  const KvCache cache(plan, share.owned_layers, kv_cache);
  const CardStages stages(plan, tensors, share, scratch);
  return {weights.bytes(), kv_cache.bytes(), scratch.bytes()};
}

}  // namespace thermocline::cuda
