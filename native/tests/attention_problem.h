// A random cache and a step's queries, keys and values over it, and the CPU's parts of attention that compute it.
#pragma once

#include <algorithm>
#include <vector>

#include "../engine/cpu/causal_attention.h"
#include "../engine/cpu/rope_and_store.h"
#include "../kernels/half.h"
#include "kernel_data.h"

namespace thermocline::test {

struct AttentionSizes {
  uint32_t heads, kv_heads, head_dim;
  uint32_t rope_dims = head_dim;
  RopePairs rope_pairs = RopePairs::adjacent;
  uint32_t context = 704;
  uint32_t slots = 3, layers = 2;
};

struct AttentionProblem {
  AttentionSizes sizes;
  std::vector<StepRow> rows;
  std::vector<uint16_t> cache;  // as kv_cache.h lays it out
  std::vector<float> q, k, v;

  static constexpr size_t kLayer = 1;

  // A row for each position, slots taking turns.
  AttentionProblem(Random& random, const AttentionSizes& sizes, const std::vector<int32_t>& positions)
      : sizes(sizes), cache(size_t{sizes.slots} * sizes.layers * 2 * sizes.kv_heads * sizes.context * sizes.head_dim) {
    for (size_t r = 0; r < positions.size(); ++r) {
      rows.push_back({0, positions[r], static_cast<int32_t>(r % sizes.slots), 0});
    }
    for (uint16_t& half : cache) half = to_f16(random_float(random, Data::random));
    q = random_floats(random, Data::random, rows.size() * sizes.heads * sizes.head_dim);
    k = random_floats(random, Data::random, rows.size() * sizes.kv_heads * sizes.head_dim);
    v = random_floats(random, Data::random, k.size());
    for (float& x : q) x *= 4;  // so that some weights are much larger than others
  }

  Step step() const { return {1, static_cast<uint32_t>(rows.size()), rows.data(), false}; }

  EnginePlan plan() const {
    EnginePlan plan{};
    plan.shape = {.layers = sizes.layers, .embd = kBlock, .heads = sizes.heads, .kv_heads = sizes.kv_heads,
                  .head_dim = sizes.head_dim, .ff = kBlock, .vocab = kBlock, .norm = Norm::rms, .norm_epsilon = 0,
                  .rope_base = 10000, .rope_scale = 1, .rope_dims = sizes.rope_dims, .rope_pairs = sizes.rope_pairs,
                  .activation = Activation::relu, .relu_threshold = 0, .predictor_threshold = 0};
    plan.slots = sizes.slots;
    plan.context_length = sizes.context;
    plan.max_rows = static_cast<uint32_t>(rows.size());
    return plan;
  }
};

// What the CPU makes of it.
class AttentionOnCpu {
 public:
  std::vector<float> q, out;

  AttentionOnCpu(const AttentionProblem& problem, const Kernels& kernels, uint32_t threads = 1)
      : q(problem.q),
        out(q.size()),
        rows_(problem.rows.size()),
        memory_(bytes(problem, threads)),
        parts_(problem, threads, memory_.data()) {
    ThreadPool pool(threads, {});
    const Compute compute{pool, kernels};
    const EnginePlan plan = problem.plan();
    const Step step = problem.step();
    std::vector<float> k = problem.k;
    std::copy(problem.cache.begin(), problem.cache.end(), cache());
    parts_.rope.set_frequencies(plan.shape, nullptr);
    parts_.rope.turn_to(step);
    const size_t layer = AttentionProblem::kLayer;
    rope_and_store(compute, plan.shape, parts_.rope, parts_.cache, layer, step, q.data(), k.data(),
                   problem.v.data());
    parts_.causal.run(compute, parts_.cache, layer, step, q.data(), out.data());
  }

  // [rows][rope_dims / 2]
  std::vector<Rope::Turn> turns() const {
    return {parts_.rope.turns(), parts_.rope.turns() + rows_ * parts_.rope.pairs()};
  }
  uint16_t* cache() const { return parts_.cache.keys(0, 0, 0); }
  const uint16_t* keys(const StepRow& row, size_t kv_head) const {
    return parts_.cache.keys(static_cast<size_t>(row.slot), AttentionProblem::kLayer, kv_head);
  }
  const uint16_t* values(const StepRow& row, size_t kv_head) const {
    return parts_.cache.values(static_cast<size_t>(row.slot), AttentionProblem::kLayer, kv_head);
  }

 private:
  struct alignas(MemoryLayout::kAlignment) Line {
    std::byte bytes[MemoryLayout::kAlignment];
  };
  struct Parts {
    Parts(const AttentionProblem& problem, uint32_t threads, MemoryLayout&& memory)
        : cache(problem.plan(), problem.sizes.layers, memory),
          rope(problem.plan().shape, problem.rows.size(), memory),
          causal(problem.plan(), problem.rows.size(), threads, memory),
          bytes(memory.bytes()) {}
    Parts(const AttentionProblem& problem, uint32_t threads, Line* lines)
        : Parts(problem, threads, MemoryLayout(reinterpret_cast<std::byte*>(lines))) {}

    KvCache cache;
    Rope rope;
    CausalAttention causal;
    size_t bytes;
  };
  static size_t bytes(const AttentionProblem& problem, uint32_t threads) {
    return Parts(problem, threads, MemoryLayout()).bytes / sizeof(Line) + 1;
  }

  size_t rows_;
  std::vector<Line> memory_;
  Parts parts_;
};

}  // namespace thermocline::test
