#include "exchange.h"

#include <string>
#include <utility>

#include "../error.h"

namespace thermocline {
namespace {

[[noreturn]] void invalid(const std::string& argument, const std::string& what) {
  throw Error(ErrorCode::invalid_argument, argument + " " + what, argument);
}

// Checks one layer's pairs; `moved` [ff] is all false before and after.
void check_pairs(const std::string& path, const LayerExchange& pairs, const std::vector<uint8_t>& owner,
                 std::vector<bool>& moved) {
  if (pairs.first.size() != pairs.second.size()) {
    invalid(path + ".second", "has " + std::to_string(pairs.second.size()) + " neurons for the " +
                                  std::to_string(pairs.first.size()) + " of " + path + ".first");
  }
  const auto take = [&](const char* side, size_t i, uint32_t neuron) {
    const auto argument = [&] { return path + "." + side + "[" + std::to_string(i) + "]"; };
    if (neuron >= owner.size()) {
      invalid(argument(),
              "is " + std::to_string(neuron) + ": the layer has " + std::to_string(owner.size()) + " neurons");
    }
    if (moved[neuron]) invalid(argument(), "is " + std::to_string(neuron) + ", which moves already");
    moved[neuron] = true;
  };
  for (size_t i = 0; i < pairs.first.size(); ++i) {
    take("first", i, pairs.first[i]);
    take("second", i, pairs.second[i]);
    if (owner[pairs.first[i]] == owner[pairs.second[i]]) {
      invalid(path + ".second[" + std::to_string(i) + "]",
              "is " + std::to_string(pairs.second[i]) + ", on executor " + std::to_string(owner[pairs.second[i]]) +
                  " as is neuron " + std::to_string(pairs.first[i]) + ", with which it is to change places");
    }
  }
  for (const auto* side : {&pairs.first, &pairs.second}) {
    for (const uint32_t neuron : *side) moved[neuron] = false;
  }
}

}  // namespace

void validate(const Exchange& exchange, const Schedule& schedule, const ModelTensors& tensors) {
  if (exchange.number == 0) invalid("number", "is 0, by which a step says that it applies no exchange");
  std::vector<bool> listed(schedule.layers.size());
  std::vector<bool> moved;
  for (size_t i = 0; i < exchange.layers.size(); ++i) {
    const LayerExchange& pairs = exchange.layers[i];
    const std::string path = "layers[" + std::to_string(i) + "]";
    if (pairs.layer >= schedule.layers.size()) {
      invalid(path + ".layer", "is " + std::to_string(pairs.layer) + ": the model has " +
                                   std::to_string(schedule.layers.size()) + " layers");
    }
    if (listed[pairs.layer]) {
      invalid(path + ".layer", "is " + std::to_string(pairs.layer) + ", which is listed already");
    }
    listed[pairs.layer] = true;
    if (!tensors.layers[pairs.layer].down_by_neuron) {
      throw Error(ErrorCode::unsupported,
                  "layer " + std::to_string(pairs.layer) +
                      " stores ffn_down one row an output, where neurons share blocks and cannot move alone: convert "
                      "the model so that it has ffn_down_t",
                  path + ".layer");
    }
    const std::vector<uint8_t>& owner = schedule.layers[pairs.layer].neuron_owner;
    moved.resize(owner.size());
    check_pairs(path, pairs, owner, moved);
  }
}

void apply(const Exchange& exchange, Schedule& schedule) {
  for (const LayerExchange& pairs : exchange.layers) {
    std::vector<uint8_t>& owner = schedule.layers[pairs.layer].neuron_owner;
    for (size_t i = 0; i < pairs.first.size(); ++i) std::swap(owner[pairs.first[i]], owner[pairs.second[i]]);
  }
}

}  // namespace thermocline
