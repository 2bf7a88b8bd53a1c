#include "neuron_exchange.h"

#include <algorithm>
#include <exception>
#include <string>
#include <utility>

#include "../error.h"

namespace thermocline {
namespace {

constexpr uint32_t kNowhere = UINT32_MAX;

void check(const CancelFlag& cancel) {
  if (cancel.load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "staging an exchange was cancelled");
}

// Where each of a layer's neurons is among this executor's; [ff].
std::vector<uint32_t> slots_of(const std::vector<uint32_t>& numbers, size_t ff) {
  std::vector<uint32_t> slots(ff, kNowhere);
  for (uint32_t slot = 0; slot < numbers.size(); ++slot) slots[numbers[slot]] = slot;
  return slots;
}

// Calls move(out, in) for each neuron that leaves this executor and the one that takes its place.
template <class Move>
void for_each_move(const LayerExchange& pairs, const std::vector<uint8_t>& owner, uint32_t executor, const Move& move) {
  for (size_t i = 0; i < pairs.first.size(); ++i) {
    if (owner[pairs.first[i]] == executor) move(pairs.first[i], pairs.second[i]);
    if (owner[pairs.second[i]] == executor) move(pairs.second[i], pairs.first[i]);
  }
}

}  // namespace

uint64_t NeuronExchange::stage(const Exchange& exchange, const CancelFlag& cancel) {
  {
    const std::lock_guard lock(mutex_);
    if (state_ == State::staging) {
      throw Error(ErrorCode::invalid_argument, "another exchange is being staged: wait for its end");
    }
    staged_.reset();
    state_ = State::staging;
  }
  // While the state is `staging` nothing is applied, so what is read here stays as it is.
  std::optional<Staged> staged;
  std::exception_ptr failure;
  try {
    staged = prepare(exchange, cancel);
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  state_ = State::none;
  if (failure) std::rethrow_exception(failure);
  staged_ = std::move(staged);
  state_ = State::staged;
  return staged_->bytes;
}

bool NeuronExchange::applied() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::applied;
}

uint64_t NeuronExchange::apply(uint64_t number) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::staged || staged_->exchange.number != number) {
    throw Error(ErrorCode::invalid_argument,
                "the step applies exchange " + std::to_string(number) + ", which is not staged on this executor");
  }
  write(staged_->rows);
  for (LayerNumbers& layer : staged_->layers) {
    std::swap(at_.share.layers[layer.layer].neurons, layer.numbers);
    renumber(layer.layer, layer.ascending);
  }
  thermocline::apply(staged_->exchange, at_.schedule);
  // What was staged is freed by who stages next, and not between two steps.
  state_ = State::applied;
  return staged_->bytes;
}

NeuronExchange::Staged NeuronExchange::prepare(const Exchange& exchange, const CancelFlag& cancel) {
  validate(exchange, at_.schedule, at_.tensors);
  Staged staged{.exchange = exchange, .layers = {}, .rows = {}, .bytes = 0};
  for (const LayerExchange& pairs : exchange.layers) {
    check(cancel);
    prepare_layer(pairs, staged);
  }
  std::byte* buffer = hold(staged.rows, staged.bytes);
  for (const Row& row : staged.rows) {
    check(cancel);
    const TensorRef& tensor = tensor_of(row.layer, row.part);
    stage_row(tensor, file_offset(tensor, row.neuron), buffer + row.buffer_offset);
  }
  return staged;
}

// Lists the rows that are to be copied; those that stay in the map's pages are read.
void NeuronExchange::prepare_layer(const LayerExchange& pairs, Staged& staged) const {
  const uint32_t l = pairs.layer;
  const std::vector<uint8_t>& owner = at_.schedule.layers[l].neuron_owner;
  const bool copied = is_copied(l);
  LayerNumbers layer{l, at_.share.layers[l].neurons, true};
  const std::vector<uint32_t> slots = slots_of(layer.numbers, owner.size());
  for_each_move(pairs, owner, at_.executor, [&](uint32_t out, uint32_t in) {
    for (const Part part : {Part::gate, Part::up, Part::down}) {
      const TensorRef& tensor = tensor_of(l, part);
      if (copied) {
        staged.rows.push_back({l, part, slots[out], in, staged.bytes});
        staged.bytes += staged_bytes(tensor);
      } else {
        stage_row(tensor, file_offset(tensor, in), nullptr);
      }
    }
  });
  for_each_move(pairs, owner, at_.executor, [&](uint32_t out, uint32_t in) { layer.numbers[slots[out]] = in; });
  // In the map a neuron's place is its number, and their order is free.
  if (!copied) std::sort(layer.numbers.begin(), layer.numbers.end());
  layer.ascending = std::is_sorted(layer.numbers.begin(), layer.numbers.end());
  staged.layers.push_back(std::move(layer));
}

const TensorRef& NeuronExchange::tensor_of(uint32_t layer, Part part) const {
  const LayerTensors& tensors = at_.tensors.layers[layer];
  return part == Part::gate ? *tensors.ffn_gate : part == Part::up ? *tensors.ffn_up : *tensors.ffn_down;
}

uint64_t NeuronExchange::file_offset(const TensorRef& tensor, uint32_t neuron) const {
  return tensor.offset + uint64_t{neuron} * row_bytes(tensor.type, tensor.cols);
}

}  // namespace thermocline
