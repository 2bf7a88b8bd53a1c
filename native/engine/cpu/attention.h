// Grouped-query attention of one layer over a step's rows.
#pragma once

#include "../../arena/arena.h"
#include "../kv_cache.h"
#include "../rope.h"
#include "weights.h"

namespace thermocline {

class Attention {
 public:
  // Takes scratch for `rows` rows; 0 when this executor runs no attention.
  Attention(const EnginePlan& plan, size_t rows, uint32_t threads, MemoryLayout& scratch);

  // x += Wo · attention(rope(Wq · n), rope(Wk · n), Wv · n) with n = rms_norm(x); x is [step.rows][embd]. Writes all
  // keys and values of the step before it reads any, so the rows of a prompt chunk see each other. `layer` counts
  // within the cache. Returns the bytes of weights read.
  uint64_t run(const Compute& compute, const AttentionWeights& weights, const KvCache& cache, size_t layer,
               const Rope& rope, const Step& step, float* x);

 private:
  void store(const Kernels& kernels, const KvCache& cache, size_t layer, const Rope& rope, const StepRow& row,
             size_t index);
  void attend(const Kernels& kernels, const KvCache& cache, size_t layer, const StepRow& row, size_t index,
              size_t first_head, float* scores) const;

  ModelShape shape_;
  size_t positions_;
  float* normed_;           // [rows][embd]
  float* q_;                // [rows][heads][head_dim]
  float* k_;                // [rows][kv_heads][head_dim]
  float* v_;                // [rows][kv_heads][head_dim]
  float* attended_;         // [rows][heads][head_dim]
  float* projected_;        // [rows][embd]
  Q8Activation* quantized_; // [rows][max(embd, heads * head_dim) / 32]
  size_t heads_together_;   // that share keys and values
  float* scores_;           // [threads][heads_together][positions]
};

}  // namespace thermocline
