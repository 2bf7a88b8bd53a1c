#include "causal_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../attention_chunks.h"

namespace thermocline {
namespace {

// Queries that kernels multiply side by side. More would leave threads without work where few heads share many queries.
constexpr size_t kMostHeadsTogether = 4;

// With fewer tasks a thread than this, chunks are divided among the threads: one task that is left over would have the
// other threads wait for a quarter of the time.
constexpr size_t kTasksOfThread = 4;

constexpr size_t seen_by(const StepRow& row) { return static_cast<size_t>(row.position) + 1; }

// `of` all values, in lanes that are then halved until there is one; `count` is a multiple of kTotalLanes.
template <class Number, class Of>
Number in_lanes(const float* values, size_t count, Number start, const Of& of) {
  Number lanes[kTotalLanes];
  std::fill_n(lanes, kTotalLanes, start);
  for (size_t p = 0; p < count; p += kTotalLanes) {
    for (size_t i = 0; i < kTotalLanes; ++i) lanes[i] = of(lanes[i], Number{values[p + i]});
  }
  for (size_t half = kTotalLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lanes[i] = of(lanes[i], lanes[i + half]);
  }
  return lanes[0];
}

struct ChunkWeights {
  float highest;
  double total;
};

// Products become weights. There is room for whole lanes; a missing score is -infinity, and its weight adds nothing.
ChunkWeights to_weights(const Kernels& kernels, float* scores, size_t count, float scale) {
  const size_t whole = (count + kTotalLanes - 1) / kTotalLanes * kTotalLanes;
  for (size_t p = 0; p < count; ++p) scores[p] *= scale;
  std::fill(scores + count, scores + whole, -INFINITY);
  const float highest = in_lanes(scores, whole, -INFINITY, [](float a, float b) { return a < b ? b : a; });
  kernels.exp_minus(scores, highest, scores, whole);
  return {highest, in_lanes(scores, whole, 0.0, [](double a, double b) { return a + b; })};
}

}  // namespace

CausalAttention::CausalAttention(const EnginePlan& plan, size_t rows, uint32_t threads, MemoryLayout& scratch)
    : heads_(plan.shape.heads),
      kv_heads_(plan.shape.kv_heads),
      head_dim_(plan.shape.head_dim),
      heads_together_(std::gcd(heads_ / kv_heads_, kMostHeadsTogether)),
      chunks_(chunks_of(plan.context_length)),
      // A thread's, or, where they are few, a task's.
      places_(rows == 0 ? 0
                        : std::max<size_t>(threads, std::min(kTasksOfThread * threads,
                                                             checked_product({heads_ / heads_together_, rows})))),
      highest_(scratch.take<float>(checked_product({places_, heads_together_, chunks_}))),
      totals_(scratch.take<double>(checked_product({places_, heads_together_, chunks_}))),
      sums_(scratch.take<float>(checked_product({places_, heads_together_, chunks_, head_dim_}))) {}

void CausalAttention::run(const Compute& compute, const KvCache& cache, size_t layer, const Step& step, const float* q,
                          float* out) const {
  const auto chunks_seen = [&](const Task& task) { return chunks_of(seen_by(step.row[task.row])); };
  const auto attend_chunk = [&](const Task& task, size_t chunk, const Chunks& found) {
    const size_t at = (task.row * heads_ + task.first_head) * head_dim_;
    attend(compute.kernels, cache, layer, step.row[task.row], chunk, task.first_head, q + at, found);
  };
  const auto merge_chunks = [&](const Task& task, const Chunks& found) {
    const size_t at = (task.row * heads_ + task.first_head) * head_dim_;
    merge(compute.kernels, chunks_seen(task), found, out + at);
  };

  size_t most_chunks = 0;
  for (size_t r = 0; r < step.rows; ++r) most_chunks = std::max(most_chunks, chunks_of(seen_by(step.row[r])));
  // By head, then row: a prompt's later rows see more positions, and every thread gets some of each.
  const size_t tasks = heads_ / heads_together_ * step.rows;
  if (most_chunks == 1 || tasks >= kTasksOfThread * compute.pool.threads()) {
    compute.pool.parallel_for(tasks, [&](size_t begin, size_t end, uint32_t thread) {
      const Chunks found = place(thread);
      for (size_t i = begin; i < end; ++i) {
        const Task at = task(i, step);
        for (size_t chunk = 0; chunk < chunks_seen(at); ++chunk) attend_chunk(at, chunk, found);
        merge_chunks(at, found);
      }
    });
    return;
  }
  compute.pool.parallel_chunks(tasks * most_chunks, 1, [&](size_t begin, size_t end, uint32_t) {
    for (size_t i = begin; i < end; ++i) {
      const Task at = task(i / most_chunks, step);
      if (i % most_chunks < chunks_seen(at)) attend_chunk(at, i % most_chunks, place(i / most_chunks));
    }
  });
  compute.pool.parallel_for(tasks, [&](size_t begin, size_t end, uint32_t) {
    for (size_t i = begin; i < end; ++i) merge_chunks(task(i, step), place(i));
  });
}

CausalAttention::Chunks CausalAttention::place(size_t index) const {
  const size_t first = index * heads_together_ * chunks_;
  return {highest_ + first, totals_ + first, sums_ + first * head_dim_};
}

// q is the first head's query; the others' follow.
void CausalAttention::attend(const Kernels& kernels, const KvCache& cache, size_t layer, const StepRow& row,
                             size_t chunk, size_t first_head, const float* q, const Chunks& found) const {
  const size_t first = chunk * kChunkPositions;
  const size_t count = std::min(kChunkPositions, seen_by(row) - first);
  const size_t slot = static_cast<size_t>(row.slot);
  const size_t kv_head = first_head / (heads_ / kv_heads_);
  const uint16_t* keys = cache.keys(slot, layer, kv_head) + first * head_dim_;
  const uint16_t* values = cache.values(slot, layer, kv_head) + first * head_dim_;

  const std::byte* rows[kChunkPositions];
  for (size_t p = 0; p < count; ++p) rows[p] = reinterpret_cast<const std::byte*>(keys + p * head_dim_);
  float scores[kMostHeadsTogether * kChunkPositions];
  constexpr size_t kF16 = static_cast<size_t>(WeightType::f16);
  kernels.multiply_rows[kF16](rows, count, {q, head_dim_ * sizeof(float), heads_together_}, head_dim_, scores,
                              kChunkPositions);
  for (size_t head = 0; head < heads_together_; ++head) {
    float* weights = scores + head * kChunkPositions;
    const ChunkWeights all = to_weights(kernels, weights, count, score_scale(head_dim_));
    const size_t at = head * chunks_ + chunk;
    found.highest[at] = all.highest;
    found.totals[at] = all.total;
    float* sums = found.sums + at * head_dim_;
    std::fill_n(sums, head_dim_, 0.0f);
    kernels.add_scaled_rows_f16(weights, values, count, sums, head_dim_);
  }
}

// out [heads_together][head_dim]
void CausalAttention::merge(const Kernels& kernels, size_t chunks, const Chunks& found, float* out) const {
  for (size_t head = 0; head < heads_together_; ++head, out += head_dim_) {
    float* shares = found.highest + head * chunks_;
    const double* totals = found.totals + head * chunks_;
    const float* sums = found.sums + head * chunks_ * head_dim_;
    kernels.exp_minus(shares, *std::max_element(shares, shares + chunks), shares, chunks);
    double total = 0;
    std::fill_n(out, head_dim_, 0.0f);
    for (size_t chunk = 0; chunk < chunks; ++chunk, sums += head_dim_) {
      const float share = shares[chunk];
      total += double{share} * totals[chunk];
      for (size_t i = 0; i < head_dim_; ++i) out[i] += share * sums[i];
    }
    const double inverse = 1 / total;
    for (size_t i = 0; i < head_dim_; ++i) out[i] = static_cast<float>(out[i] * inverse);
  }
}

}  // namespace thermocline
