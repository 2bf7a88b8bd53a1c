// Grouped-query attention of one layer over a step's rows.
#pragma once

#include "../rope.h"
#include "causal_attention.h"
#include "weights.h"

namespace thermocline {

class Attention {
 public:
  // Takes scratch for `rows` rows; 0 when this executor runs no attention.
  Attention(const EnginePlan& plan, size_t rows, uint32_t threads, MemoryLayout& scratch);

  // x += Wo · attention(rope(Wq · n), rope(Wk · n), Wv · n) with n = x normalized; x is [step.rows][embd]. Writes all
  // keys and values of the step before it reads any, so the rows of a prompt chunk see each other. `layer` counts
  // within the cache. Returns the bytes of weights read.
  uint64_t run(const Compute& compute, const AttentionWeights& weights, const KvCache& cache, size_t layer,
               const Rope& rope, const Step& step, float* x);

 private:
  ModelShape shape_;
  float* normed_;           // [rows][embd]
  float* q_;                // [rows][heads][head_dim]
  float* k_;                // [rows][kv_heads][head_dim]
  float* v_;                // [rows][kv_heads][head_dim]
  float* attended_;         // [rows][heads][head_dim]
  float* projected_;        // [rows][embd]
  Q8Activation* quantized_; // [rows][max(embd, heads * head_dim) / 32]
  CausalAttention causal_;
};

}  // namespace thermocline
