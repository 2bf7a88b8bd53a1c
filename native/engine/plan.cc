#include "plan.h"

#include <algorithm>
#include <cmath>

#include "../error.h"
#include "model_tensors.h"

namespace thermocline {
namespace {

[[noreturn]] void invalid(const std::string& argument, const std::string& message) {
  throw Error(ErrorCode::invalid_argument, argument + " " + message, argument);
}

void require_positive(const char* argument, uint32_t value) {
  if (value == 0) invalid(argument, "is 0; it must be at least 1");
}

void require_finite(const char* argument, float value, bool positive) {
  if (!std::isfinite(value) || value < 0 || (positive && value == 0)) {
    invalid(argument, "is " + std::to_string(value) + "; it must be finite and " +
                          (positive ? "greater than 0" : "not negative"));
  }
}

void check_shape(const ModelShape& shape) {
  require_positive("shape.layers", shape.layers);
  require_positive("shape.embd", shape.embd);
  require_positive("shape.heads", shape.heads);
  require_positive("shape.kvHeads", shape.kv_heads);
  require_positive("shape.headDim", shape.head_dim);
  require_positive("shape.ff", shape.ff);
  require_positive("shape.vocab", shape.vocab);
  if (shape.heads % shape.kv_heads != 0) {
    invalid("shape.kvHeads", "is " + std::to_string(shape.kv_heads) + ", which does not divide shape.heads (" +
                                 std::to_string(shape.heads) + ")");
  }
  if (shape.rope_dims % 2 != 0 || shape.rope_dims > shape.head_dim) {
    invalid("shape.ropeDims", "is " + std::to_string(shape.rope_dims) +
                                  "; it must be even and at most shape.headDim (" + std::to_string(shape.head_dim) +
                                  ")");
  }
  require_finite("shape.normEpsilon", shape.norm_epsilon, false);
  require_finite("shape.ropeBase", shape.rope_base, true);
  require_finite("shape.ropeScale", shape.rope_scale, true);
  require_finite("shape.reluThreshold", shape.relu_threshold, false);
  if (shape.activation == Activation::silu && shape.relu_threshold > 0) {
    invalid("shape.reluThreshold", "is " + std::to_string(shape.relu_threshold) + ", which means nothing to SiLU");
  }
  if (std::isnan(shape.predictor_threshold)) invalid("shape.predictorThreshold", "is not a number");
}

void check_executor(const std::string& argument, uint32_t executor, size_t executors) {
  if (executor >= executors) {
    invalid(argument,
            "names executor " + std::to_string(executor) + ", but there are only " + std::to_string(executors));
  }
}

std::string layer_path(size_t layer, const char* field) {
  return "schedule.layers[" + std::to_string(layer) + "]." + field;
}

void check_schedule(const EnginePlan& plan) {
  const Schedule& schedule = plan.schedule;
  const size_t executors = schedule.executors.size();
  constexpr size_t kMostExecutors = 256;  // a neuron's owner is one byte
  if (executors == 0 || executors > kMostExecutors) {
    invalid("schedule.executors",
            "lists " + std::to_string(executors) + "; there must be 1 to " + std::to_string(kMostExecutors));
  }
  check_executor("executor", plan.executor, executors);
  check_executor("schedule.head", schedule.head, executors);
  if (schedule.layers.size() != plan.shape.layers) {
    invalid("schedule.layers", "has " + std::to_string(schedule.layers.size()) + " entries for " +
                                   std::to_string(plan.shape.layers) + " layers");
  }
  for (size_t l = 0; l < schedule.layers.size(); ++l) {
    const LayerSchedule& layer = schedule.layers[l];
    check_executor(layer_path(l, "attention"), layer.attention, executors);
    if (layer.neuron_owner.size() != plan.shape.ff) {
      invalid(layer_path(l, "neuronOwner"), "has " + std::to_string(layer.neuron_owner.size()) + " entries for " +
                                                std::to_string(plan.shape.ff) + " neurons");
    }
    for (const uint8_t owner : layer.neuron_owner) check_executor(layer_path(l, "neuronOwner"), owner, executors);
  }
}

// A row of ffn_down holds all neurons' weights for one output, so executors divide it by whole blocks: of 32, as
// activations are quantized, or of what its own type stores together.
void check_down_groups(const EnginePlan& plan, const ModelTensors& tensors) {
  for (size_t l = 0; l < tensors.layers.size(); ++l) {
    if (tensors.layers[l].down_by_neuron) continue;
    const std::vector<uint8_t>& owner = plan.schedule.layers[l].neuron_owner;
    const size_t block = std::max(kBlock, block_elements(tensors.layers[l].ffn_down->type));
    for (size_t n = 0; n < owner.size(); ++n) {
      const size_t first = n / block * block;
      if (owner[n] == owner[first]) continue;
      const size_t last = std::min(first + block, owner.size()) - 1;
      throw Error(ErrorCode::invalid_argument,
                  "neuronOwner: neurons " + std::to_string(first) + ".." + std::to_string(last) +
                      " share blocks of ffn_down and must have one owner",
                  layer_path(l, "neuronOwner"));
    }
  }
}

}  // namespace

void validate(const EnginePlan& plan) {
  check_shape(plan.shape);
  require_positive("slots", plan.slots);
  require_positive("contextLength", plan.context_length);
  require_positive("maxRows", plan.max_rows);
  constexpr uint32_t kMost = INT32_MAX;  // steps count them in 32-bit signed numbers
  if (plan.slots > kMost) invalid("slots", "is more than " + std::to_string(kMost));
  if (plan.context_length > kMost) invalid("contextLength", "is more than " + std::to_string(kMost));
  check_schedule(plan);
  check_down_groups(plan, find_tensors(plan));
}

void validate(const EngineOptions& options) {
  constexpr uint32_t kMostThreads = 1024;
  if (options.threads == 0 || options.threads > kMostThreads) {
    invalid("options.threads",
            "is " + std::to_string(options.threads) + "; it must be 1 to " + std::to_string(kMostThreads));
  }
  if (!options.pin_to.empty() && options.pin_to.size() != options.threads) {
    invalid("options.pinTo", "names " + std::to_string(options.pin_to.size()) + " CPUs for " +
                                 std::to_string(options.threads) + " threads; name one each, or none");
  }
  if (options.kernels == nullptr) {
    throw Error(ErrorCode::unsupported, "options.instructionSet has no kernels on this CPU", "options.instructionSet");
  }
}

}  // namespace thermocline
