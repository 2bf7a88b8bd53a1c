#include "attention.h"

#include <algorithm>

#include "multiply.h"
#include "norm.h"
#include "rope_and_store.h"

namespace thermocline {

Attention::Attention(const EnginePlan& plan, size_t rows, uint32_t threads, MemoryLayout& scratch)
    : shape_(plan.shape), causal_(plan, rows, threads, scratch) {
  const uint64_t embd = shape_.embd;
  const uint64_t q = checked_product({shape_.heads, shape_.head_dim});
  const uint64_t kv = checked_product({shape_.kv_heads, shape_.head_dim});
  normed_ = scratch.take<float>(checked_product({rows, embd}));
  q_ = scratch.take<float>(checked_product({rows, q}));
  k_ = scratch.take<float>(checked_product({rows, kv}));
  v_ = scratch.take<float>(checked_product({rows, kv}));
  attended_ = scratch.take<float>(checked_product({rows, q}));
  projected_ = scratch.take<float>(checked_product({rows, embd}));
  quantized_ = scratch.take<Q8Activation>(checked_product({rows, std::max(embd, q) / kBlock}));
}

uint64_t Attention::run(const Compute& compute, const AttentionWeights& weights, const KvCache& cache, size_t layer,
                        const Rope& rope, const Step& step, float* x) {
  const size_t rows = step.rows;
  const size_t embd = shape_.embd;
  normalize(compute, shape_, weights.norm, x, rows, normed_);
  const Inputs normed =
      prepare(compute, normed_, rows, embd, {weights.q.type, weights.k.type, weights.v.type}, quantized_);
  multiply(compute, {{weights.q, q_}, {weights.k, k_}, {weights.v, v_}}, normed, rows);

  rope_and_store(compute, shape_, rope, cache, layer, step, q_, k_, v_);
  causal_.run(compute, cache, layer, step, q_, attended_);

  const size_t q_size = size_t{shape_.heads} * shape_.head_dim;
  const Inputs attended = prepare(compute, attended_, rows, q_size, {weights.output.type}, quantized_);
  multiply(compute, {{weights.output, projected_}}, attended, rows);
  add(compute, projected_, rows, embd, x);
  return weights.norm.bytes(embd) + weights.q.bytes() + weights.k.bytes() + weights.v.bytes() + weights.output.bytes();
}

}  // namespace thermocline
