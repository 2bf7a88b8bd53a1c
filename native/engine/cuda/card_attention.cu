// Attention of a layer, and its FFN's input.
#include "attention.h"
#include "card_stages.h"
#include "merge.h"
#include "norm.h"
#include "rope_and_store.h"

namespace thermocline::cuda {

void CardStages::attend(Stream stream, const CardLayerWeights& weights, const CardCache& cache, unsigned cache_layer,
                        const StepExtent& extent) {
  const CardAttentionWeights& own = weights.attention;
  const unsigned rows = extent.rows, embd = shape_.embd, q_size = own.q.count;
  const bool blocks = wants_blocks(own.q.type) || wants_blocks(own.k.type) || wants_blocks(own.v.type);
  normalize(stream, shape_, own.norm, residual, rows, normed_, blocks ? quantized_ : nullptr);
  const CardInputs normed{normed_, quantized_, embd};
  multiply(stream, own.q, normed, 0, rows, q_, own.q.count);
  multiply(stream, own.k, normed, 0, rows, k_, own.k.count);
  multiply(stream, own.v, normed, 0, rows, v_, own.v.count);
  rope_and_store(stream, cache, cache_layer, shape_, row, rows, turns, q_, k_, v_);
  attention(stream, cache, cache_layer, shape_.heads, row, rows, extent.positions, q_, attended_, attention_);
  if (wants_blocks(own.output.type)) quantize(stream, attended_, rows, q_size, false, quantized_);
  multiply(stream, own.output, {attended_, quantized_, q_size}, 0, rows, projected_, embd);
  add(stream, projected_, rows * embd, residual);
  normalize(stream, shape_, weights.ffn_norm, residual, rows, ffn_input, nullptr);
}

}  // namespace thermocline::cuda
