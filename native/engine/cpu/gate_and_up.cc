#include "gate_and_up.h"

namespace thermocline {
namespace {

// The hardware follows a stream from its second or third cache line on; these lines bridge the wait until then.
constexpr size_t kPrefetchBytes = 256;
constexpr size_t kCacheLine = 64;

void prefetch(const std::byte* from) {
  for (size_t i = 0; i < kPrefetchBytes; i += kCacheLine) __builtin_prefetch(from + i);
}

size_t whole_panels(size_t neurons) { return (neurons + kPanelRows - 1) / kPanelRows * kPanelRows; }

}  // namespace

GateAndUp::GateAndUp(const ModelShape& shape, size_t tile_rows, size_t neurons, uint32_t threads, MemoryLayout& scratch)
    : activation_(shape.activation),
      relu_threshold_(shape.relu_threshold),
      embd_(shape.embd),
      tile_rows_(tile_rows),
      stride_(whole_panels(neurons)),
      values_(scratch.take<float>(checked_product({threads, 2, tile_rows, stride_}))),
      read_(scratch.take<uint8_t>(tile_rows > 0 ? checked_product({threads, stride_}) : 0)) {}

GateAndUp::Part::Part(const GateAndUp& owner, const NeuronTile& tile, size_t begin, size_t end, uint32_t thread)
    : owner_(owner),
      tile_(tile),
      gate_(tile.weights.gate),
      up_(tile.weights.up),
      begin_(begin),
      end_(end),
      stride_(owner.stride_),
      gates_(owner.values_ + thread * 2 * owner.tile_rows_ * stride_),
      ups_(gates_ + owner.tile_rows_ * stride_),
      read_(owner.read_ + thread * stride_),
      gate_bytes_(row_bytes(gate_.type, owner.embd_)),
      up_bytes_(row_bytes(up_.type, owner.embd_)) {
  std::fill(read_, read_ + (end - begin), uint8_t{0});
}

void GateAndUp::Part::multiply_panels() {
  const auto multiply = [&](const Matrix& weights, float* values, Read what) {
    if (weights.layout != Layout::panels) return;
    multiply_part(tile_.kernels, weights, begin_, end_ - begin_, tile_.h.rows(weights.type, tile_.first, tile_.rows),
                  values, stride_);
    for (size_t i = begin_; i < end_; ++i) mark(i, what);
  };
  multiply(gate_, gates_, kGate);
  multiply(up_, ups_, kUp);
  if (!is_dense()) return;
  for (size_t row = 0; row < tile_.rows; ++row) {
    float* gates = gates_ + row * stride_;
    tile_.kernels.silu_times(gates, ups_ + row * stride_, gates, end_ - begin_);
  }
  work_.active += static_cast<uint32_t>(tile_.rows * (end_ - begin_));
}

void GateAndUp::Part::take_dense(size_t row, size_t first, NeuronBatch& batch) {
  const float* hidden = gates_ + row * stride_ + (first - begin_);
  batch.count = std::min(NeuronBatch::kSize, end_ - first);
  for (size_t i = 0; i < batch.count; ++i) {
    batch.index[i] = static_cast<uint32_t>(first + i);
    batch.value[i] = hidden[i];
  }
  observe(row, batch);
}

void GateAndUp::Part::fire(size_t index) {
  ++work_.active;
  if (!mark(index, kUp)) return;
  prefetch(tile_.row_of(up_, index));
  if (tile_.weights.down_by_neuron) prefetch(tile_.row_of(tile_.weights.down, index));
}

void GateAndUp::Part::to_hidden(size_t row, NeuronBatch& batch) {
  NeuronBatch ups = batch;
  multiply_rows(up_, row, ups);
  if (owner_.activation_ == Activation::silu) {
    tile_.kernels.silu_times(batch.value, ups.value, batch.value, batch.count);
  } else {
    const bool up_too = owner_.activation_ == Activation::relu2;
    for (size_t i = 0; i < batch.count; ++i) batch.value[i] *= up_too ? std::max(ups.value[i], 0.0f) : ups.value[i];
  }
  observe(row, batch);
  size_t kept = 0;
  for (size_t i = 0; i < batch.count; ++i) {
    if (batch.value[i] == 0) continue;
    batch.index[kept] = batch.index[i];
    batch.value[kept++] = batch.value[i];
  }
  batch.count = kept;
}

void GateAndUp::Part::observe(size_t row, const NeuronBatch& batch) const {
  if (tile_.observer == nullptr) return;
  for (size_t i = 0; i < batch.count; ++i) {
    tile_.observer->fired(tile_.first + row, tile_.numbers[batch.index[i]], batch.value[i]);
  }
}

void GateAndUp::Part::count_down(const NeuronBatch& batch, size_t bytes) {
  for (size_t i = 0; i < batch.count; ++i) {
    if (mark(batch.index[i], kDown)) work_.bytes += bytes;
  }
}

void GateAndUp::Part::multiply_rows(const Matrix& weights, size_t row, NeuronBatch& batch) const {
  const std::byte* rows[NeuronBatch::kSize];
  for (size_t i = 0; i < batch.count; ++i) rows[i] = tile_.row_of(weights, batch.index[i]);
  tile_.kernels.multiply_rows[static_cast<size_t>(weights.type)](
      rows, batch.count, tile_.h.rows(weights.type, tile_.first + row, 1), owner_.embd_, batch.value, batch.count);
}

}  // namespace thermocline
