#include "plan_argument.h"

#include "../error.h"
#include "weight_type_argument.h"

namespace thermocline::bridge {
namespace {

// The names' order is that of the enumerations.
Activation read_activation(const Argument& activation) {
  return static_cast<Activation>(activation.choice({"relu", "relu2", "silu"}));
}
Norm read_norm(const Argument& norm) { return static_cast<Norm>(norm.choice({"rms", "layer"})); }
RopePairs read_rope_pairs(const Argument& pairs) {
  return static_cast<RopePairs>(pairs.choice({"adjacent", "halves"}));
}
ExecutorKind read_executor_kind(const Argument& kind) { return static_cast<ExecutorKind>(kind.choice({"cpu", "gpu"})); }
Residency read_residency(const Argument& residency) {
  return static_cast<Residency>(residency.choice({"mapped", "resident"}));
}

int read_cpu(const Argument& cpu) { return static_cast<int>(cpu.integer(INT32_MAX)); }

const Kernels* read_instruction_set(const Argument& set) {
  if (set.is_null()) return &best_kernels();
  const auto chosen = static_cast<InstructionSet>(set.choice({"scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni"}));
  const Kernels* kernels = kernels_for(chosen);
  if (kernels == nullptr) {
    throw Error(ErrorCode::unsupported, std::string("this CPU can't run ") + name_of(chosen) + " kernels", set.path());
  }
  return kernels;
}

ModelShape read_shape(const Argument& shape) {
  return {
      .layers = shape.field("layers").uint32(),
      .embd = shape.field("embd").uint32(),
      .heads = shape.field("heads").uint32(),
      .kv_heads = shape.field("kvHeads").uint32(),
      .head_dim = shape.field("headDim").uint32(),
      .ff = shape.field("ff").uint32(),
      .vocab = shape.field("vocab").uint32(),
      .norm = read_norm(shape.field("norm")),
      .norm_epsilon = shape.field("normEpsilon").float32(),
      .rope_base = shape.field("ropeBase").float32(),
      .rope_scale = shape.field("ropeScale").float32(),
      .rope_dims = shape.field("ropeDims").uint32(),
      .rope_pairs = read_rope_pairs(shape.field("ropePairs")),
      .activation = read_activation(shape.field("activation")),
      .relu_threshold = shape.field("reluThreshold").float32(),
      .predictor_threshold = shape.field("predictorThreshold").float32(),
  };
}

TensorRef read_tensor(const Argument& tensor) {
  return {
      .name = tensor.field("name").text(),
      .type = read_weight_type(tensor.field("type")),
      .offset = tensor.field("offset").integer(UINT64_MAX),
      .rows = tensor.field("rows").uint32(),
      .cols = tensor.field("cols").uint32(),
  };
}

LayerSchedule read_layer(const Argument& layer) {
  const auto owners = layer.field("neuronOwner").uint8s();
  return {
      .attention = layer.field("attention").uint32(),
      .neuron_owner = {owners.begin(), owners.end()},
  };
}

LayerExchange read_layer_exchange(const Argument& layer) {
  const auto first = layer.field("first").uint32s();
  const auto second = layer.field("second").uint32s();
  return {
      .layer = layer.field("layer").uint32(),
      .first = {first.begin(), first.end()},
      .second = {second.begin(), second.end()},
  };
}

Schedule read_schedule(const Argument& schedule) {
  return {
      .executors = schedule.field("executors").elements(read_executor_kind),
      .layers = schedule.field("layers").elements(read_layer),
      .head = schedule.field("head").uint32(),
  };
}

}  // namespace

EnginePlan read_plan(const Argument& plan) {
  return {
      .model_path = plan.field("modelPath").text(),
      .model_bytes = plan.field("modelBytes").integer(UINT64_MAX),
      .shape = read_shape(plan.field("shape")),
      .tensors = plan.field("tensors").elements(read_tensor),
      .schedule = read_schedule(plan.field("schedule")),
      .executor = plan.field("executor").uint32(),
      .slots = plan.field("slots").uint32(),
      .context_length = plan.field("contextLength").uint32(),
      .max_rows = plan.field("maxRows").uint32(),
  };
}

EngineOptions read_options(const Argument& options) {
  return {
      .residency = read_residency(options.field("residency")),
      .budget_bytes = options.field("budgetBytes").integer(UINT64_MAX),
      .threads = options.field("threads").uint32(),
      .pin_to = options.field("pinTo").elements(read_cpu),
      .kernels = read_instruction_set(options.field("instructionSet")),
      .library = options.field("library").is_null() ? std::string() : options.field("library").text(),
  };
}

Exchange read_exchange(const Argument& exchange) {
  return {
      .number = exchange.field("number").integer(UINT64_MAX),
      .layers = exchange.field("layers").elements(read_layer_exchange),
  };
}

}  // namespace thermocline::bridge
