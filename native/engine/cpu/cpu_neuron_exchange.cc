#include "cpu_neuron_exchange.h"

#include <cstring>

#include "load_weights.h"

namespace thermocline {
namespace {

void write_row(const Matrix& matrix, uint32_t slot, const std::byte* row) {
  std::byte* data = const_cast<std::byte*>(matrix.data);
  if (matrix.layout == Layout::panels) {
    pack_row(matrix.type, row, slot % kPanelRows, matrix.cols, data + slot / kPanelRows * matrix.stride);
  } else {
    std::memcpy(data + slot * matrix.stride, row, row_bytes(matrix.type, matrix.cols));
  }
}

}  // namespace

void CpuNeuronExchange::stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const {
  const size_t bytes = row_bytes(tensor.type, tensor.cols);
  if (to == nullptr) {
    page_in(subject().file.slice(offset, bytes), bytes);
  } else {
    subject().file.read(offset, bytes, to);
  }
}

std::byte* CpuNeuronExchange::hold(const std::vector<Row>&, size_t bytes) {
  std::vector<std::byte>().swap(buffer_);  // before there is another one
  buffer_.resize(bytes);
  return buffer_.data();
}

void CpuNeuronExchange::write(const std::vector<Row>& rows) {
  pool_.parallel_chunks(rows.size(), 1, [&](size_t begin, size_t end, uint32_t) {
    for (size_t i = begin; i < end; ++i) {
      const NeuronWeights& neurons = weights_.layers[rows[i].layer].neurons;
      const Matrix& matrix = rows[i].part == Part::gate ? neurons.gate
                             : rows[i].part == Part::up ? neurons.up
                                                        : neurons.down;
      write_row(matrix, rows[i].slot, buffer_.data() + rows[i].buffer_offset);
    }
  });
}

}  // namespace thermocline
