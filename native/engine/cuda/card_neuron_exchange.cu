#include "card_neuron_exchange.h"

#include <cstring>

#include "scatter.h"

namespace thermocline::cuda {

// Rows, then neurons' numbers, then where they all go.
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
  bytes_ = lay_out(MemoryLayout());
  std::vector<Line>().swap(unpinned_);  // before there is another one
  if (bytes_ > pinned_bytes_) unpinned_.resize((bytes_ + sizeof(Line) - 1) / sizeof(Line));
  lay_out(MemoryLayout(unpinned_.empty() ? pinned_.get() : unpinned_.data()->bytes));
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

void CardNeuronExchange::pin() {
  pinned_.reset();
  pinned_bytes_ = 0;
  pinned_ = card_.pinned_memory(bytes_);
  pinned_bytes_ = bytes_;
  const std::byte* from = unpinned_.data()->bytes;
  std::memcpy(pinned_.get(), from, bytes_);
  const auto moved = [&](const void* address) { return pinned_.get() + (static_cast<const std::byte*>(address) - from); };
  copies_ = reinterpret_cast<ScatteredCopy*>(moved(copies_));
  for (unsigned i = 0; i < count_; ++i) copies_[i].from = moved(copies_[i].from);
  std::vector<Line>().swap(unpinned_);
}

// Returns when the rows have been read: the next exchange may be staged as soon as this one counts as applied.
void CardNeuronExchange::write(const std::vector<Row>&) {
  if (!unpinned_.empty()) pin();
  scatter(card_.stream(), copies_, count_);
  card_.finish();
}

}  // namespace thermocline::cuda
