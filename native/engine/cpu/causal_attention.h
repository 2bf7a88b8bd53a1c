// softmax(q · K) · V of a step's rows, over their slots' positions up to their own, as attention_chunks.h divides it.
#pragma once

#include "../../arena/arena.h"
#include "../kv_cache.h"
#include "matrix.h"

namespace thermocline {

class CausalAttention {
 public:
  // Takes scratch for `rows` rows; 0 when this executor runs no attention.
  CausalAttention(const EnginePlan& plan, size_t rows, uint32_t threads, MemoryLayout& scratch);

  // q and out are [step.rows][heads][head_dim]; the step's own keys and values are in the cache. `layer` counts within
  // the cache. A row's bits depend neither on the other rows nor on the threads.
  void run(const Compute& compute, const KvCache& cache, size_t layer, const Step& step, const float* q,
           float* out) const;

 private:
  // A row, and heads that share their keys and values, which are therefore read once for all of them.
  struct Task {
    size_t row, first_head;
  };
  // Where a task's chunks leave what they found: [heads_together][chunks].
  struct Chunks {
    float* highest;
    double* totals;
    float* sums;  // and [head_dim]
  };

  Task task(size_t index, const Step& step) const {
    return {index % step.rows, index / step.rows * heads_together_};
  }
  Chunks place(size_t index) const;
  void attend(const Kernels& kernels, const KvCache& cache, size_t layer, const StepRow& row, size_t chunk,
              size_t first_head, const float* q, const Chunks& found) const;
  void merge(const Kernels& kernels, size_t chunks, const Chunks& found, float* out) const;

  size_t heads_, kv_heads_, head_dim_;
  size_t heads_together_;
  size_t chunks_;   // of the whole context
  size_t places_;
  float* highest_;  // [places][heads_together][chunks]
  double* totals_;  // [places][heads_together][chunks]
  float* sums_;     // [places][heads_together][chunks][head_dim]
};

}  // namespace thermocline
