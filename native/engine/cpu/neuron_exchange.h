// Exchanges of this executor's neurons (exchange.h): prepared beside the weights in use, applied between two steps.
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "../engine.h"
#include "../weight_file.h"
#include "weights.h"

namespace thermocline {

class NeuronExchange {
 public:
  // All of these live as long as this does. An exchange changes the schedule's owners, the share's neurons, and what
  // lies in the weights' memory; it is the step loop's thread that applies it, and no other writes them.
  struct Subject {
    Schedule& schedule;
    const ModelTensors& tensors;
    const WeightFile& file;
    uint32_t executor;
    Share& share;
    Weights& weights;
  };
  explicit NeuronExchange(const Subject& subject) : at_(subject) {}

  // Any thread, while steps run: as Device::stage().
  uint64_t stage(const Exchange& exchange, const CancelFlag& cancel);
  // Any thread: whether the exchange that was staged last has been applied.
  bool applied() const;

  // The step loop's thread. Applies the exchange of that number, which must be staged: copies its weights, with all of
  // the pool's threads, and takes no memory. Returns the bytes copied. Throws Error `invalid_argument` when it is not
  // staged.
  uint64_t apply(uint64_t number, ThreadPool& pool);

 private:
  // A row of weights on its way from the buffer to the place of the one it takes over from.
  struct Row {
    const Matrix* matrix;
    uint32_t slot;
    size_t buffer_offset;
  };
  struct LayerNumbers {
    uint32_t layer;
    std::vector<uint32_t> numbers;
    bool ascending;
  };
  struct Staged {
    Exchange exchange;
    std::vector<LayerNumbers> layers;
    std::vector<Row> rows;
    std::vector<std::byte> buffer;
  };
  enum class State { none, staging, staged, applied };

  Staged prepare(const Exchange& exchange, const CancelFlag& cancel) const;
  void prepare_layer(const LayerExchange& pairs, Staged& staged) const;

  Subject at_;
  mutable std::mutex mutex_;  // of what follows; held while an exchange is applied, and not while one is prepared
  State state_ = State::none;
  std::optional<Staged> staged_;
};

}  // namespace thermocline
