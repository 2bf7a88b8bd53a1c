// Exchanges of neurons that lie in the model file's pages or in copies.
#pragma once

#include "../neuron_exchange.h"
#include "weights.h"

namespace thermocline {

class CpuNeuronExchange : public NeuronExchange {
 public:
  // `weights` and `pool`, whose threads copy, live as long as this does.
  CpuNeuronExchange(const Subject& subject, Weights& weights, ThreadPool& pool)
      : NeuronExchange(subject), weights_(weights), pool_(pool) {}

 protected:
  bool is_copied(uint32_t layer) const override { return weights_.layers[layer].neurons.compact; }
  size_t staged_bytes(const TensorRef& tensor) const override { return row_bytes(tensor.type, tensor.cols); }
  void stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const override;
  std::byte* hold(const std::vector<Row>&, size_t bytes) override;
  void write(const std::vector<Row>& rows) override;
  void renumber(uint32_t layer, bool ascending) override { weights_.layers[layer].neurons.ascending = ascending; }

 private:
  Weights& weights_;
  ThreadPool& pool_;
  std::vector<std::byte> buffer_;
};

}  // namespace thermocline
