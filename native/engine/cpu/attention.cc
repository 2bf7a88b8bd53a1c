#include "attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "multiply.h"
#include "rms_norm.h"

namespace thermocline {
namespace {

// Queries that kernels multiply side by side. More would leave threads without work where few heads share many queries.
constexpr size_t kMostHeadsTogether = 4;

// Scores become e^(scale * score), divided by their sum.
void softmax(const Kernels& kernels, float* scores, size_t count, float scale) {
  float highest = -INFINITY;
  for (size_t p = 0; p < count; ++p) {
    scores[p] *= scale;
    highest = std::max(highest, scores[p]);
  }
  kernels.exp_minus(scores, highest, scores, count);
  double sum = 0;
  for (size_t p = 0; p < count; ++p) sum += scores[p];
  const float share = static_cast<float>(1.0 / sum);
  for (size_t p = 0; p < count; ++p) scores[p] *= share;
}

}  // namespace

Attention::Attention(const EnginePlan& plan, size_t rows, uint32_t threads, MemoryLayout& scratch)
    : shape_(plan.shape), positions_(plan.context_length) {
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
  const size_t group = shape_.heads / shape_.kv_heads;
  heads_together_ = std::gcd(group, kMostHeadsTogether);
  scores_ = scratch.take<float>(rows > 0 ? checked_product({threads, heads_together_, positions_}) : 0);
}

uint64_t Attention::run(const Compute& compute, const AttentionWeights& weights, const KvCache& cache, size_t layer,
                        const Rope& rope, const Step& step, float* x) {
  const size_t rows = step.rows;
  const size_t embd = shape_.embd;
  rms_norm(compute, x, weights.norm, shape_.rms_epsilon, rows, embd, normed_);
  const Inputs normed =
      prepare(compute, normed_, rows, embd, {weights.q.type, weights.k.type, weights.v.type}, quantized_);
  multiply(compute, {{weights.q, q_}, {weights.k, k_}, {weights.v, v_}}, normed, rows);

  compute.pool.parallel_for(rows, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) store(compute.kernels, cache, layer, rope, step.row[r], r);
  });
  // By head, then row: a chunk's later rows see more positions, and every thread gets some of each.
  compute.pool.parallel_for(shape_.heads / heads_together_ * rows, [&](size_t begin, size_t end, uint32_t thread) {
    float* scores = scores_ + thread * heads_together_ * positions_;
    for (size_t i = begin; i < end; ++i) {
      attend(compute.kernels, cache, layer, step.row[i % rows], i % rows, i / rows * heads_together_, scores);
    }
  });

  const size_t q_size = size_t{shape_.heads} * shape_.head_dim;
  const Inputs attended = prepare(compute, attended_, rows, q_size, {weights.output.type}, quantized_);
  multiply(compute, {{weights.output, projected_}}, attended, rows);
  add(compute, projected_, rows, embd, x);
  return embd * sizeof(float) + weights.q.bytes() + weights.k.bytes() + weights.v.bytes() + weights.output.bytes();
}

// Rotates the queries and keys of the step's row `index` and puts its keys and values into the cache.
void Attention::store(const Kernels& kernels, const KvCache& cache, size_t layer, const Rope& rope, const StepRow& row,
                      size_t index) {
  const size_t dim = shape_.head_dim;
  const size_t slot = static_cast<size_t>(row.slot);
  const size_t at = static_cast<size_t>(row.position) * dim;
  for (size_t h = 0; h < shape_.heads; ++h) rope.rotate(index, q_ + (index * shape_.heads + h) * dim);
  for (size_t h = 0; h < shape_.kv_heads; ++h) {
    float* key = k_ + (index * shape_.kv_heads + h) * dim;
    rope.rotate(index, key);
    kernels.to_f16(key, cache.keys(slot, layer, h) + at, dim);
    kernels.to_f16(v_ + (index * shape_.kv_heads + h) * dim, cache.values(slot, layer, h) + at, dim);
  }
}

// Softmax over the scores of positions 0 to the row's own, then the values' mean under it; for heads first_head on that
// share their keys, so that these are read once for all.
void Attention::attend(const Kernels& kernels, const KvCache& cache, size_t layer, const StepRow& row, size_t index,
                       size_t first_head, float* scores) const {
  const size_t dim = shape_.head_dim;
  const size_t seen = static_cast<size_t>(row.position) + 1;
  const size_t slot = static_cast<size_t>(row.slot);
  const size_t kv_head = first_head / (shape_.heads / shape_.kv_heads);
  const uint16_t* keys = cache.keys(slot, layer, kv_head);
  const uint16_t* values = cache.values(slot, layer, kv_head);
  const size_t at = (index * shape_.heads + first_head) * dim;
  constexpr size_t kF16 = static_cast<size_t>(WeightType::f16);
  constexpr size_t kKeysAtATime = 64;

  const Activations queries{q_ + at, dim * sizeof(float), heads_together_};
  for (size_t first = 0; first < seen; first += kKeysAtATime) {
    const size_t count = std::min(kKeysAtATime, seen - first);
    const std::byte* rows[kKeysAtATime];
    for (size_t p = 0; p < count; ++p) rows[p] = reinterpret_cast<const std::byte*>(keys + (first + p) * dim);
    kernels.multiply_rows[kF16](rows, count, queries, dim, scores + first, positions_);
  }
  for (size_t head = 0; head < heads_together_; ++head) {
    float* out = attended_ + at + head * dim;
    std::fill(out, out + dim, 0.0f);
    softmax(kernels, scores + head * positions_, seen, 1.0f / std::sqrt(static_cast<float>(dim)));
    kernels.add_scaled_rows_f16(scores + head * positions_, values, seen, out, dim);
  }
}

}  // namespace thermocline
