// Exchanges of neurons in a card's memory.
#pragma once

#include "../neuron_exchange.h"
#include "card.h"
#include "card_weights.h"

namespace thermocline::cuda {

struct ScatteredCopy;

// Rows wait in memory of the host that the card reads, beside the list of their places, so that one kernel takes them
// there. Pinning such memory may wait for the card, and hold up who watches the step at hand: where there is too little,
// they wait in other memory until write(), when the card has nothing to do.
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
  struct alignas(MemoryLayout::kAlignment) Line {
    std::byte bytes[MemoryLayout::kAlignment];
  };

  // Takes what waits in unpinned_ to pinned memory, which serves until more is wanted.
  void pin();

  const CardWeights& weights_;
  Card& card_;
  PinnedMemory pinned_;
  uint64_t pinned_bytes_ = 0;
  std::vector<Line> unpinned_;       // where rows wait if pinned_ is too small, else empty
  uint64_t bytes_ = 0;               // of rows, numbers and copies
  ScatteredCopy* copies_ = nullptr;  // behind the rows
  unsigned count_ = 0;
};

}  // namespace thermocline::cuda
