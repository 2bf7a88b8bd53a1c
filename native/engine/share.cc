#include "share.h"

#include <algorithm>

namespace thermocline {

bool Share::holds_neurons() const {
  return std::any_of(layers.begin(), layers.end(), [](const LayerShare& layer) { return !layer.neurons.empty(); });
}

Share share_of(const EnginePlan& plan) {
  const Schedule& schedule = plan.schedule;
  const uint32_t self = plan.executor;
  Share share{.layers = {},
              .owned_layers = 0,
              .embeds = schedule.layers.front().attention == self,
              .head = schedule.head == self,
              .residual_arrives = schedule.layers.back().attention != schedule.head};
  for (size_t l = 0; l < schedule.layers.size(); ++l) {
    const LayerSchedule& layer = schedule.layers[l];
    const uint32_t next = l + 1 < schedule.layers.size() ? schedule.layers[l + 1].attention : schedule.head;
    LayerShare part{.owner = layer.attention == self,
                    .has_peers = false,
                    .residual_arrives = l > 0 && schedule.layers[l - 1].attention != layer.attention,
                    .residual_leaves = next != layer.attention,
                    .cache_layer = share.owned_layers,
                    .neurons = {},
                    .holders = {}};
    std::vector<bool> holds(schedule.executors.size());
    for (uint32_t n = 0; n < layer.neuron_owner.size(); ++n) {
      holds[layer.neuron_owner[n]] = true;
      if (layer.neuron_owner[n] == self) part.neurons.push_back(n);
    }
    for (uint32_t e = 0; e < holds.size(); ++e) {
      if (!holds[e]) continue;
      part.holders.push_back(e);
      if (e != layer.attention) part.has_peers = true;
    }
    if (part.owner) ++share.owned_layers;
    share.layers.push_back(std::move(part));
  }
  return share;
}

}  // namespace thermocline
