#include "neuron_exchange.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <utility>

#include "../../error.h"
#include "load_weights.h"

namespace thermocline {
namespace {

constexpr uint32_t kNowhere = UINT32_MAX;

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

void write(const Matrix& matrix, uint32_t slot, const std::byte* row) {
  std::byte* data = const_cast<std::byte*>(matrix.data);
  if (matrix.layout == Layout::panels) {
    pack_row(matrix.type, row, slot % kPanelRows, matrix.cols, data + slot / kPanelRows * matrix.stride);
  } else {
    std::memcpy(data + slot * matrix.stride, row, row_bytes(matrix.type, matrix.cols));
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
  return staged_->buffer.size();
}

bool NeuronExchange::applied() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::applied;
}

uint64_t NeuronExchange::apply(uint64_t number, ThreadPool& pool) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::staged || staged_->exchange.number != number) {
    throw Error(ErrorCode::invalid_argument,
                "the step applies exchange " + std::to_string(number) + ", which is not staged on this executor");
  }
  pool.parallel_chunks(staged_->rows.size(), 1, [&](size_t begin, size_t end, uint32_t) {
    for (const Row& row : std::span(staged_->rows).subspan(begin, end - begin)) {
      write(*row.matrix, row.slot, staged_->buffer.data() + row.buffer_offset);
    }
  });
  for (LayerNumbers& layer : staged_->layers) {
    std::swap(at_.share.layers[layer.layer].neurons, layer.numbers);
    at_.weights.layers[layer.layer].neurons.ascending = layer.ascending;
  }
  thermocline::apply(staged_->exchange, at_.schedule);
  // What was staged is freed by who stages next, and not between two steps.
  state_ = State::applied;
  return staged_->buffer.size();
}

NeuronExchange::Staged NeuronExchange::prepare(const Exchange& exchange, const CancelFlag& cancel) const {
  validate(exchange, at_.schedule, at_.tensors);
  Staged staged{.exchange = exchange, .layers = {}, .rows = {}, .buffer = {}};
  for (const LayerExchange& pairs : exchange.layers) {
    if (cancel.load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "staging an exchange was cancelled");
    prepare_layer(pairs, staged);
  }
  return staged;
}

void NeuronExchange::prepare_layer(const LayerExchange& pairs, Staged& staged) const {
  const uint32_t l = pairs.layer;
  const std::vector<uint8_t>& owner = at_.schedule.layers[l].neuron_owner;
  const NeuronWeights& to = at_.weights.layers[l].neurons;
  const LayerTensors& from = at_.tensors.layers[l];
  LayerNumbers layer{l, at_.share.layers[l].neurons, true};
  const std::vector<uint32_t> slots = slots_of(layer.numbers, owner.size());
  const std::pair<const Matrix*, const TensorRef*> parts[] = {
      {&to.gate, from.ffn_gate}, {&to.up, from.ffn_up}, {&to.down, from.ffn_down}};
  for_each_move(pairs, owner, at_.executor, [&](uint32_t out, uint32_t in) {
    for (const auto& [matrix, tensor] : parts) {
      const size_t bytes = row_bytes(tensor->type, tensor->cols);
      const uint64_t offset = tensor->offset + uint64_t{in} * bytes;
      if (to.compact) {
        staged.rows.push_back({matrix, slots[out], staged.buffer.size()});
        staged.buffer.resize(staged.buffer.size() + bytes);
        at_.file.read(offset, bytes, staged.buffer.data() + staged.rows.back().buffer_offset);
      } else {
        page_in(at_.file.slice(offset, bytes), bytes);
      }
    }
  });
  for_each_move(pairs, owner, at_.executor, [&](uint32_t out, uint32_t in) { layer.numbers[slots[out]] = in; });
  // In the map a neuron's place is its number, and their order is free.
  if (!to.compact) std::sort(layer.numbers.begin(), layer.numbers.end());
  layer.ascending = std::is_sorted(layer.numbers.begin(), layer.numbers.end());
  staged.layers.push_back(std::move(layer));
}

}  // namespace thermocline
