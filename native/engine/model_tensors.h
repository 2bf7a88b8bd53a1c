// A plan's tensors by what they are for, under llama.cpp's names for the llama architecture and PowerInfer's for the
// predictor (fc1, fc2) and the transposed down-projection (ffn_down_t).
#pragma once

#include <vector>

#include "plan.h"

namespace thermocline {

// RMSNorm has a weight; LayerNorm has either, both or none, and what is null has no effect.
struct NormTensors {
  const TensorRef* weight;       // f32 [embd]
  const TensorRef* bias;         // f32 [embd]

  uint64_t bytes() const { return (weight == nullptr ? 0 : weight->bytes()) + (bias == nullptr ? 0 : bias->bytes()); }
};

struct LayerTensors {
  NormTensors attn_norm;
  const TensorRef* attn_q;       // [heads * head_dim][embd]
  const TensorRef* attn_k;       // [kv_heads * head_dim][embd]
  const TensorRef* attn_v;       // [kv_heads * head_dim][embd]
  const TensorRef* attn_output;  // [embd][heads * head_dim]
  NormTensors ffn_norm;
  const TensorRef* ffn_gate;     // [ff][embd]
  const TensorRef* ffn_up;       // [ff][embd]
  const TensorRef* ffn_down;     // ffn_down_t [ff][embd], one row a neuron; else ffn_down [embd][ff]
  bool down_by_neuron;           // whether ffn_down is ffn_down_t
  const TensorRef* fc1;          // [rank][embd], null without a predictor
  const TensorRef* fc2;          // [ff][rank], null without a predictor
};

struct ModelTensors {
  const TensorRef* token_embd;   // [vocab][embd]
  NormTensors output_norm;
  const TensorRef* output;       // [vocab][embd]; token_embd when the file has no head of its own
  const TensorRef* rope_freqs;   // f32 [rope_dims / 2], null when frequencies are not divided
  std::vector<LayerTensors> layers;
};

// Pointers into `plan.tensors`. Throws Error: `invalid_argument` for a tensor that is missing, of the wrong shape or
// type, or outside the file; `unsupported` for one that a llama model does not have.
ModelTensors find_tensors(const EnginePlan& plan);

}  // namespace thermocline
