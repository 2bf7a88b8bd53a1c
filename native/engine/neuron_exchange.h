// Exchanges of an executor's neurons (exchange.h): prepared beside the weights in use, applied between two steps.
#pragma once

#include <mutex>
#include <optional>
#include <vector>

#include "engine.h"
#include "share.h"
#include "weight_file.h"

namespace thermocline {

// Where a device keeps neurons' weights is its own matter.
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
  };
  explicit NeuronExchange(const Subject& subject) : at_(subject) {}
  virtual ~NeuronExchange() = default;

  // Any thread, while steps run: as Device::stage().
  uint64_t stage(const Exchange& exchange, const CancelFlag& cancel);
  // Any thread: whether the exchange that was staged last has been applied.
  bool applied() const;

  // The step loop's thread. Applies the exchange of that number, which must be staged. Returns the bytes copied. Throws
  // Error `invalid_argument` when it is not staged.
  uint64_t apply(uint64_t number);

 protected:
  enum class Part : uint8_t { gate, up, down };
  static constexpr size_t kRowsOfNeuron = 3;

  // A row of weights on its way from the buffer to the place of the one it takes over from. Rows of a neuron follow each
  // other, in the order of Part.
  struct Row {
    uint32_t layer;
    Part part;
    uint32_t slot;    // among this executor's neurons of the layer
    uint32_t neuron;  // that comes
    size_t buffer_offset;
  };

  // Whether this executor's neurons lie in copies, by slots. Else all lie in the model file's pages.
  virtual bool is_copied(uint32_t layer) const = 0;
  // Bytes of a neuron's row as it is to lie in the buffer.
  virtual size_t staged_bytes(const TensorRef& tensor) const = 0;
  // Any thread: memory for these rows, which are `bytes` together, until the next call. Throws Error `out_of_memory`.
  virtual std::byte* hold(const std::vector<Row>& rows, size_t bytes) = 0;
  // Any thread: brings a row there from its place in the file; nullptr for one that stays in the file's pages.
  virtual void stage_row(const TensorRef& tensor, uint64_t offset, std::byte* to) const = 0;
  // Takes all rows from where hold() put them to their places, and their numbers to where the device looks them up.
  // Takes no memory for weights.
  virtual void write(const std::vector<Row>& rows) = 0;
  // The share's neurons of this layer are others, and may not ascend any more.
  virtual void renumber(uint32_t layer, bool ascending) = 0;

  const Subject& subject() const { return at_; }
  const TensorRef& tensor_of(uint32_t layer, Part part) const;

 private:
  struct LayerNumbers {
    uint32_t layer;
    std::vector<uint32_t> numbers;
    bool ascending;
  };
  struct Staged {
    Exchange exchange;
    std::vector<LayerNumbers> layers;
    std::vector<Row> rows;
    uint64_t bytes;  // of the rows
  };
  enum class State { none, staging, staged, applied };

  Staged prepare(const Exchange& exchange, const CancelFlag& cancel);
  void prepare_layer(const LayerExchange& pairs, Staged& staged) const;
  uint64_t file_offset(const TensorRef& tensor, uint32_t neuron) const;

  Subject at_;
  mutable std::mutex mutex_;  // of what follows; held while an exchange is applied, and not while one is prepared
  State state_ = State::none;
  std::optional<Staged> staged_;
};

}  // namespace thermocline
