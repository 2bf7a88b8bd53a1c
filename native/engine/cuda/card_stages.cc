#include "card_stages.h"

#include <algorithm>

#include "../active_set.h"

namespace thermocline::cuda {
namespace {

// Rows whose attention is computed at a time: enough to fill a card, and their scratch grows with the context.
constexpr unsigned kAttendedRows = 8;

unsigned most_rank(const ModelTensors& tensors, const Share& share) {
  unsigned rank = 0;
  for (size_t l = 0; l < share.layers.size(); ++l) {
    if (share.layers[l].owner && tensors.layers[l].fc1 != nullptr) rank = std::max(rank, tensors.layers[l].fc1->rows);
  }
  return rank;
}

// This executor's neurons in the fullest of the layers whose down-projection is stored this way.
unsigned most_neurons(const ModelTensors& tensors, const Share& share, bool down_by_neuron) {
  size_t most = 0;
  for (size_t l = 0; l < share.layers.size(); ++l) {
    if (tensors.layers[l].down_by_neuron == down_by_neuron) most = std::max(most, share.layers[l].neurons.size());
  }
  return static_cast<unsigned>(most);
}

// A slot is as a rule generating, and wants the logits of one row.
unsigned selected_rows(const EnginePlan& plan, const Share& share) {
  return share.head ? std::min(plan.max_rows, plan.slots) : 0;
}

AttentionScratch attention_scratch(const EnginePlan& plan, const Share& share, MemoryLayout& scratch) {
  const unsigned rows = share.owned_layers > 0 ? std::min(kAttendedRows, plan.max_rows) : 0;
  if (rows > 0) check_attention(plan.shape.head_dim, plan.context_length);
  return {scratch.take_bytes(
              attention_scratch_bytes(plan.shape.heads, plan.shape.head_dim, rows, plan.context_length)),
          rows};
}

}  // namespace

CardStages::CardStages(const EnginePlan& plan, const ModelTensors& tensors, const Share& share, MemoryLayout& scratch)
    : shape_(plan.shape),
      selected_rows_(selected_rows(plan, share)),
      logits_(scratch.take<float>(checked_product({selected_rows_, shape_.vocab}))),
      selection_(selected_rows_, shape_.vocab, scratch),
      attention_(attention_scratch(plan, share, scratch)),
      predictor_(plan.shape.embd, plan.shape.ff, plan.max_rows, most_rank(tensors, share), scratch),
      neurons_(plan.shape.embd, plan.max_rows, most_neurons(tensors, share, true), most_neurons(tensors, share, false),
               scratch) {
  const uint64_t rows = share.takes_part() ? plan.max_rows : 0;
  const uint64_t owner_rows = share.owned_layers > 0 ? rows : 0;
  const uint64_t head_rows = share.head ? rows : 0;
  const uint64_t neuron_rows = share.holds_neurons() ? rows : 0;
  const uint64_t embd = shape_.embd;
  const uint64_t q = checked_product({shape_.heads, shape_.head_dim});
  const uint64_t kv = checked_product({shape_.kv_heads, shape_.head_dim});
  const uint64_t any_rows = std::max(owner_rows, head_rows);
  row = scratch.take<StepRow>(owner_rows);
  wanting = scratch.take<uint32_t>(head_rows);
  turns = scratch.take<Rope::Turn>(checked_product({owner_rows, shape_.rope_dims / 2}));
  residual = scratch.take<float>(checked_product({any_rows, embd}));
  ffn_input = scratch.take<float>(checked_product({std::max(owner_rows, neuron_rows), embd}));
  const bool predicts = std::any_of(tensors.layers.begin(), tensors.layers.end(),
                                    [](const LayerTensors& layer) { return layer.fc1 != nullptr; });
  active = scratch.take<uint64_t>(
      predicts ? checked_product({std::max(owner_rows, neuron_rows), active_words(shape_.ff)}) : 0);
  partial = scratch.take<double>(checked_product({std::min(owner_rows, neuron_rows), embd}));
  counts = scratch.take<NeuronCounts>(shape_.layers);
  normed_ = scratch.take<float>(checked_product({any_rows, embd}));
  q_ = scratch.take<float>(checked_product({owner_rows, q}));
  k_ = scratch.take<float>(checked_product({owner_rows, kv}));
  v_ = scratch.take<float>(checked_product({owner_rows, kv}));
  attended_ = scratch.take<float>(checked_product({owner_rows, q}));
  projected_ = scratch.take<float>(checked_product({any_rows, embd}));
  quantized_ = scratch.take<Q8Activation>(
      checked_product({std::max(any_rows, neuron_rows), std::max(embd, q) / kBlock}));
}

}  // namespace thermocline::cuda
