// Plans, options, arenas and steps that contradict themselves are refused, and the argument at fault is named.
#include "engine_stack.h"

namespace thermocline {
namespace {

using test::EngineStack;
using test::TinyModel;

struct Refusal {
  ErrorCode code;
  std::string argument;
  std::string message;
};

template <class Work>
Refusal refusal_of(const Work& work) {
  try {
    work();
  } catch (const Error& error) {
    return {error.code(), error.argument(), error.what()};
  }
  return {ErrorCode::internal, "(nothing was thrown)", {}};
}

size_t index_of(const EnginePlan& plan, const std::string& name) {
  for (size_t i = 0; i < plan.tensors.size(); ++i) {
    if (plan.tensors[i].name == name + ".weight") return i;
  }
  test::fail(__FILE__, __LINE__, "no tensor ", name);
}

TensorRef& tensor(EnginePlan& plan, const std::string& name) { return plan.tensors[index_of(plan, name)]; }

// Spoils a plan for two executors with `spoil`, which returns the argument that is then at fault.
using Spoil = std::string (*)(EnginePlan& plan);

void check_refused(const Spoil& spoil, ErrorCode code = ErrorCode::invalid_argument) {
  static const TinyModel model({});
  EnginePlan plan = model.plan(model.schedule(2), 0);
  const std::string argument = spoil(plan);
  const Refusal refusal = refusal_of([&] { memory_needs(plan, test::engine_options()); });
  CHECK_EQ(refusal.argument, argument);
  CHECK_EQ(name_of(refusal.code), std::string(name_of(code)));
  CHECK_EQ(refusal_of([&] { test::load(plan, test::engine_options()); }).message, refusal.message);
}

// Sets plan.FIELD and expects ARGUMENT to be refused.
#define REFUSES(field, value, argument)       \
  check_refused([](EnginePlan& plan) {        \
    plan.field = value;                       \
    return std::string(argument);             \
  })

TEST(shapes) {
  REFUSES(shape.layers, 0, "shape.layers");
  REFUSES(shape.embd, 0, "shape.embd");
  REFUSES(shape.heads, 0, "shape.heads");
  REFUSES(shape.kv_heads, 0, "shape.kvHeads");
  REFUSES(shape.kv_heads, 3, "shape.kvHeads");
  REFUSES(shape.head_dim, 0, "shape.headDim");
  REFUSES(shape.ff, 0, "shape.ff");
  REFUSES(shape.vocab, 0, "shape.vocab");
  REFUSES(shape.norm_epsilon, -1, "shape.normEpsilon");
  REFUSES(shape.rope_base, 0, "shape.ropeBase");
  REFUSES(shape.rope_scale, NAN, "shape.ropeScale");
  REFUSES(shape.rope_dims, 5, "shape.ropeDims");
  REFUSES(shape.rope_dims, 18, "shape.ropeDims");
  REFUSES(shape.relu_threshold, -0.01f, "shape.reluThreshold");
  REFUSES(shape.relu_threshold, NAN, "shape.reluThreshold");
  REFUSES(shape.relu_threshold, INFINITY, "shape.reluThreshold");
  check_refused([](EnginePlan& plan) {
    plan.shape.activation = Activation::silu;
    plan.shape.relu_threshold = 0.01f;
    return std::string("shape.reluThreshold");
  });
  REFUSES(shape.predictor_threshold, NAN, "shape.predictorThreshold");
}

TEST(sizes) {
  REFUSES(slots, 0, "slots");
  REFUSES(slots, 1u << 31, "slots");
  REFUSES(context_length, 0, "contextLength");
  REFUSES(context_length, 1u << 31, "contextLength");
  REFUSES(max_rows, 0, "maxRows");
}

TEST(schedules) {
  REFUSES(executor, 2, "executor");
  REFUSES(schedule.executors, {}, "schedule.executors");
  REFUSES(schedule.executors, std::vector<ExecutorKind>(257), "schedule.executors");
  REFUSES(schedule.head, 2, "schedule.head");
  REFUSES(schedule.layers, {}, "schedule.layers");
  REFUSES(schedule.layers[1].attention, 2, "schedule.layers[1].attention");
  REFUSES(schedule.layers[2].neuron_owner[7], 2, "schedule.layers[2].neuronOwner");
  REFUSES(schedule.layers[2].neuron_owner, {}, "schedule.layers[2].neuronOwner");
}

// Sets one field of a tensor and expects it to be refused.
#define REFUSES_TENSOR(name, field, value, ...)                                      \
  check_refused(                                                                     \
      [](EnginePlan& plan) {                                                         \
        tensor(plan, name).field = value;                                            \
        return "tensors[" + std::to_string(index_of(plan, name)) + "]." + #field;    \
      } __VA_OPT__(, ) __VA_ARGS__)

TEST(tensors) {
  REFUSES_TENSOR("blk.1.attn_q", rows, 32);
  REFUSES_TENSOR("blk.1.attn_k", cols, 64);
  REFUSES_TENSOR("blk.1.ffn_up", rows, 0);
  REFUSES_TENSOR("output_norm", cols, 0);
  REFUSES_TENSOR("blk.2.ffn_down_t", offset, plan.model_bytes);
  REFUSES_TENSOR("blk.2.ffn_down_t", offset, UINT64_MAX);
  REFUSES_TENSOR("blk.0.attn_norm", type, WeightType::f16, ErrorCode::unsupported);
  check_refused([](EnginePlan& plan) {
    tensor(plan, "blk.0.attn_q") = {"blk.0.attn_q.weight", WeightType::q8_0, 0, 64, 95};
    return "tensors[" + std::to_string(index_of(plan, "blk.0.attn_q")) + "].cols";
  });
}

TEST(norms) {
  // RMSNorm has no bias: what the file holds more would be left out of the computation without a word.
  check_refused(
      [](EnginePlan& plan) {
        TensorRef bias = tensor(plan, "output_norm");
        bias.name = "output_norm.bias";
        plan.tensors.push_back(bias);
        return "tensors[" + std::to_string(plan.tensors.size() - 1) + "].name";
      },
      ErrorCode::unsupported);
  check_refused([](EnginePlan& plan) {
    tensor(plan, "output_norm").name = "output_norm.bias";
    return std::string("tensors");
  });
  check_refused([](EnginePlan& plan) {
    plan.shape.norm = Norm::layer;
    const size_t index = index_of(plan, "output_norm");
    plan.tensors[index].name = "output_norm.bias";
    plan.tensors[index].cols = 95;
    return "tensors[" + std::to_string(index) + "].cols";
  });
}

TEST(sizes_whose_product_overflows) {
  check_refused([](EnginePlan& plan) {
    tensor(plan, "token_embd").rows = tensor(plan, "token_embd").cols = UINT32_MAX;
    return std::string();
  });
  check_refused([](EnginePlan& plan) {
    plan.slots = plan.context_length = INT32_MAX;
    return std::string();
  });
}

TEST(tensors_missing_doubled_or_unknown) {
  check_refused([](EnginePlan& plan) {
    plan.tensors.erase(plan.tensors.begin() + static_cast<ptrdiff_t>(index_of(plan, "blk.2.ffn_down_t")));
    return std::string("tensors");
  });
  check_refused([](EnginePlan& plan) {
    plan.tensors[2].name = plan.tensors[1].name;
    return std::string("tensors[2].name");
  });
  check_refused(
      [](EnginePlan& plan) {
        plan.tensors.push_back(plan.tensors[0]);
        plan.tensors.back().name = "blk.0.attn_q.bias";
        return "tensors[" + std::to_string(plan.tensors.size() - 1) + "].name";
      },
      ErrorCode::unsupported);
}

TEST(executors_divide_ffn_down_by_whole_blocks) {
  const TinyModel model({.down_by_neuron = false});
  Schedule schedule = model.schedule(2);
  auto& owner = schedule.layers[1].neuron_owner;
  std::fill(owner.begin() + 64, owner.begin() + 96, uint8_t{1});
  memory_needs(model.plan(schedule, 0), test::engine_options());
  owner[70] = 0;
  const Refusal refusal =
      refusal_of([&] { memory_needs(model.plan(schedule, 0), test::engine_options()); });
  CHECK_EQ(refusal.argument, "schedule.layers[1].neuronOwner");
  CHECK_EQ(refusal.message, "neuronOwner: neurons 64..95 share blocks of ffn_down and must have one owner");
}

TEST(engine_options) {
  const TinyModel model({});
  const auto refused = [&](auto spoil) {
    EngineOptions options = test::engine_options();
    spoil(options);
    return refusal_of([&] { memory_needs(model.plan(model.schedule(), 0), options); }).argument;
  };
  CHECK_EQ(refused([](EngineOptions& o) { o.threads = 0; }), "options.threads");
  CHECK_EQ(refused([](EngineOptions& o) { o.threads = 100000; }), "options.threads");
  CHECK_EQ(refused([](EngineOptions& o) { o.pin_to = {0, 1}; }), "options.pinTo");
  CHECK_EQ(refused([](EngineOptions& o) { o.kernels = nullptr; }), "options.instructionSet");
}

TEST(model_files) {
  const TinyModel model({});
  EnginePlan plan = model.plan(model.schedule(), 0);
  plan.model_bytes += 1;
  CHECK_EQ(name_of(refusal_of([&] { test::load(plan, test::engine_options()); }).code), std::string("corrupt"));
  plan.model_path += ".not-there";
  CHECK_EQ(name_of(refusal_of([&] { test::load(plan, test::engine_options()); }).code), std::string("not-found"));
}

TEST(arenas_of_another_model) {
  const TinyModel model({});
  const EnginePlan plan = model.plan(model.schedule(), 0);
  const auto device = test::load(plan, test::engine_options());
  const auto refused = [&](auto spoil) {
    ArenaOptions options = test::arena_for(plan)->options();
    spoil(options);
    const auto arena = Arena::create(options);
    return refusal_of([&] { device->begin(*arena); }).argument;
  };
  CHECK_EQ(refused([](ArenaOptions& o) { o.executors = 2; }), "arena.executors");
  CHECK_EQ(refused([](ArenaOptions& o) { o.layers = 2; }), "arena.layers");
  CHECK_EQ(refused([](ArenaOptions& o) { o.embd = 2; }), "arena.embd");
  CHECK_EQ(refused([](ArenaOptions& o) { o.ff = 2; }), "arena.ff");
  CHECK_EQ(refused([](ArenaOptions& o) { o.vocab = 2; }), "arena.vocab");
  CHECK_EQ(refused([](ArenaOptions& o) { o.max_rows = o.max_logit_rows = 2; }), "arena.maxRows");
}

// The failure that a step which the arena itself let pass ends with.
StepFailure failure_of(const std::vector<std::vector<StepRow>>& steps) {
  static const TinyModel model({});
  EngineStack stack(model, model.schedule());
  for (size_t i = 0; i + 1 < steps.size(); ++i) stack.run(steps[i]);
  stack.arena().submit(steps.back().data(), static_cast<uint32_t>(steps.back().size()));
  const auto& outcome = stack.join()[0];
  CHECK(outcome.has_value());
  CHECK(stack.arena().aborted());
  CHECK_EQ(stack.arena().failure()->message, outcome->message);
  CHECK_EQ(outcome->executor, 0);
  CHECK_EQ(name_of(outcome->code), std::string("invalid-argument"));
  return *outcome;
}

void check_starts(const StepFailure& failure, const std::string& start) {
  CHECK_EQ(failure.message.substr(0, start.size()), start);
}

TEST(steps) {
  check_starts(failure_of({{{1, 0, 3, 1}}}), "rows[0].slot is 3;");
  check_starts(failure_of({{{1, 1, 0, 1}}}), "rows[0].position is 1 where slot 0 holds 0 positions;");
  check_starts(failure_of({{{1, 0, 0, 1}}, {{1, 1, 0, 1}, {1, 3, 0, 1}}}),
               "rows[1].position is 3 where slot 0 holds 2 positions;");
  check_starts(failure_of({{{1, 0, 0, 1}, {1, 0, 1, 1}, {1, 0, 0, 1}}}),
               "rows[2].position is 0 where slot 0 holds 1 positions;");
  std::vector<StepRow> full, over;
  for (int32_t p = 0; p < 40; ++p) full.push_back({1, p, 1, 0});
  for (int32_t p = 40; p < 49; ++p) over.push_back({1, p, 1, 0});
  check_starts(failure_of({full, over}), "rows[8].position is 48; it must be 0 to 47");
}

}  // namespace
}  // namespace thermocline
