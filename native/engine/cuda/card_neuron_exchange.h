// Exchanges of neurons in a card's memory.
#pragma once

#include "../neuron_exchange.h"
#include "card.h"
#include "card_weights.h"

namespace thermocline::cuda {

struct ScatteredCopy;

// Rows wait in memory of the host that the card reads, beside the list of their places, so that one kernel takes them
// there.
class CardNeuronExchange : public NeuronExchange {
 public:
  // `weights` and `card` live as long as this does.
  CardNeuronExchange(const Subject& subject, const CardWeights& weights, Card& card)
      : NeuronExchange(subject), weights_(weights), card_(card) {}

 protected:
  bool is_copied(uint32_t) const override { return true; }
  size_t staged_bytes(const TensorRef& tensor) const override { return card_row_bytes(tensor.type, tensor.cols); }
  std::byte* hold(const std::vector<Row>& rows, size_t bytes) override;
  void stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const override;
  void write(const std::vector<Row>& rows) override;
  void renumber(uint32_t, bool) override {}  // write() has done it

 private:
  const CardWeights& weights_;
  Card& card_;
  PinnedMemory memory_;
  uint64_t memory_bytes_ = 0;
  std::vector<PinnedMemory> outgrown_;
  ScatteredCopy* copies_ = nullptr;  // in memory_
  unsigned count_ = 0;
};

}  // namespace thermocline::cuda
