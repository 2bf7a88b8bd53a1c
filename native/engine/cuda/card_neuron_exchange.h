// Exchanges of neurons in a card's memory.
#pragma once

#include "../neuron_exchange.h"
#include "card.h"
#include "card_weights.h"

namespace thermocline::cuda {

class CardNeuronExchange : public NeuronExchange {
 public:
  // `weights` and `card` live as long as this does.
  CardNeuronExchange(const Subject& subject, const CardWeights& weights, Card& card)
      : NeuronExchange(subject), weights_(weights), card_(card) {}

 protected:
  bool is_copied(uint32_t) const override { return true; }
  size_t staged_bytes(const TensorRef& tensor) const override { return card_row_bytes(tensor.type, tensor.cols); }
  void stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const override;
  void write(const std::vector<Row>& rows, const std::byte* buffer) override;
  void renumber(uint32_t layer, bool ascending) override;

 private:
  const CardWeights& weights_;
  Card& card_;
};

}  // namespace thermocline::cuda
