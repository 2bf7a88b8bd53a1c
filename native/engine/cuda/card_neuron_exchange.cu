#include "card_neuron_exchange.h"

#include "scatter.h"

namespace thermocline::cuda {

// Rows, then neurons' numbers, then where they all go. Pinning memory takes long, so what there is serves the next
// exchange too. Giving it back waits for the card, which would hold up the thread that watches the step at hand: that one
// does it, in write().
std::byte* CardNeuronExchange::hold(const std::vector<Row>& rows, size_t bytes) {
  const size_t moves = rows.size() / kRowsOfNeuron;
  std::byte* buffer = nullptr;
  uint32_t* numbers = nullptr;
  const auto lay_out = [&](MemoryLayout memory) {
    buffer = memory.take_bytes(bytes);
    numbers = memory.take<uint32_t>(moves);
    copies_ = memory.take<ScatteredCopy>(rows.size() + moves);
    return memory.bytes();
  };
  count_ = 0;
  const uint64_t wanted = lay_out(MemoryLayout());
  if (wanted > memory_bytes_) {
    if (memory_ != nullptr) outgrown_.push_back(std::move(memory_));
    memory_bytes_ = 0;
    memory_ = card_.pinned_memory(wanted);
    memory_bytes_ = wanted;
  }
  lay_out(MemoryLayout(memory_.get()));
  for (const Row& row : rows) {
    const CardNeurons& neurons = weights_.layers[row.layer].neurons;
    const CardMatrix& matrix = row.part == Part::gate ? neurons.gate
                               : row.part == Part::up ? neurons.up
                                                      : neurons.down;
    const size_t row_bytes = card_row_bytes(matrix.type, matrix.cols);
    copies_[count_++] = {const_cast<std::byte*>(matrix.rows) + row.slot * row_bytes, buffer + row.buffer_offset,
                         static_cast<unsigned>(row_bytes / sizeof(uint32_t))};
    if (row.part != Part::gate) continue;
    *numbers = row.neuron;
    copies_[count_++] = {const_cast<uint32_t*>(neurons.numbers) + row.slot, numbers++, 1};
  }
  return buffer;
}

void CardNeuronExchange::stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const {
  std::vector<std::byte> row(row_bytes(tensor.type, tensor.cols));
  subject().file.read(offset, row.size(), row.data());
  to_card_row(tensor.type, row.data(), tensor.cols, to);
}

// Returns when the rows have been read: the next exchange may be staged as soon as this one counts as applied.
void CardNeuronExchange::write(const std::vector<Row>&) {
  scatter(card_.stream(), copies_, count_);
  card_.finish();
  outgrown_.clear();
}

}  // namespace thermocline::cuda
