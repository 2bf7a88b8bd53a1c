// One executor's part of a schedule, layer by layer.
#pragma once

#include <cstdint>
#include <vector>

#include "plan.h"

namespace thermocline {

struct LayerShare {
  bool owner;                     // runs attention and the predictor, holds the residual, merges
  bool has_peers;                 // an executor other than the owner holds neurons
  bool residual_arrives;          // the layer before has another owner
  bool residual_leaves;           // the next layer, or the head, has another owner
  uint32_t cache_layer;           // of an owner: this layer's index among those it owns
  std::vector<uint32_t> neurons;  // this executor's, ascending until some change places
  std::vector<uint32_t> holders;  // all executors with neurons, ascending: the order in which partial sums are added
};

struct Share {
  std::vector<LayerShare> layers;
  uint32_t owned_layers;
  bool embeds;            // owner of the first layer
  bool head;              // runs the output norm and head
  bool residual_arrives;  // of the head: the last layer has another owner

  bool holds_neurons() const;
  // False when steps pass this executor by.
  bool takes_part() const { return owned_layers > 0 || head || holds_neurons(); }
};

// `plan` must be valid.
Share share_of(const EnginePlan& plan);

}  // namespace thermocline
