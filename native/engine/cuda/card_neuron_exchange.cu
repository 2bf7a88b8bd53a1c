#include "card_neuron_exchange.h"

namespace thermocline::cuda {

void CardNeuronExchange::stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const {
  std::vector<std::byte> row(row_bytes(tensor.type, tensor.cols));
  subject().file.read(offset, row.size(), row.data());
  to_card_row(tensor.type, row.data(), tensor.cols, to);
}

void CardNeuronExchange::write(const std::vector<Row>& rows, const std::byte* buffer) {
  for (const Row& row : rows) {
    const CardNeurons& neurons = weights_.layers[row.layer].neurons;
    const CardMatrix& matrix = row.part == Part::gate ? neurons.gate
                               : row.part == Part::up ? neurons.up
                                                      : neurons.down;
    const size_t bytes = card_row_bytes(matrix.type, matrix.cols);
    card_.upload(matrix.rows + row.slot * bytes, buffer + row.buffer_offset, bytes);
  }
}

void CardNeuronExchange::renumber(uint32_t layer, bool) {
  const std::vector<uint32_t>& numbers = subject().share.layers[layer].neurons;
  card_.upload(weights_.layers[layer].neurons.numbers, reinterpret_cast<const std::byte*>(numbers.data()),
               numbers.size() * sizeof(uint32_t));
}

}  // namespace thermocline::cuda
