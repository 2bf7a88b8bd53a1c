// First half of the neuron operator: the rows a neuron fires for, and its hidden value act(gate · h) * (up · h) there.
#pragma once

#include "../plan.h"
#include "active_set.h"
#include "weights.h"

namespace thermocline {

// What was done for some neurons.
struct NeuronWork {
  uint32_t active = 0;  // (row, neuron) pairs that fired
  uint64_t bytes = 0;   // of weights read

  NeuronWork& operator+=(const NeuronWork& other) {
    active += other.active;
    bytes += other.bytes;
    return *this;
  }
};

// The rows of a tile that one neuron fires for, and its hidden value in each.
struct Firing {
  size_t count;
  uint32_t row[kRowTile];
  float value[kRowTile];
};

// Gate and up over one tile of at most kRowTile rows. A neuron's rows of weights are loaded once for the whole tile.
class GateAndUp {
 public:
  // h: the tile is its rows first .. first + rows - 1. `active` [rows of h][active_words(ff)] limits which neurons are
  // visited; null visits all.
  GateAndUp(const Kernels& kernels, Activation activation, const NeuronWeights& weights, const Inputs& h,
            const uint64_t* active, size_t active_stride, size_t first, size_t rows)
      : activation_(activation),
        weights_(weights),
        h_(h),
        active_(active),
        active_stride_(active_stride),
        first_(first),
        rows_(rows),
        gate_dot_(kernels.dot[static_cast<size_t>(weights.gate.type)]),
        up_dot_(kernels.dot[static_cast<size_t>(weights.up.type)]),
        gate_bytes_(row_bytes(weights.gate.type, h.cols)),
        up_bytes_(row_bytes(weights.up.type, h.cols)) {}

  const NeuronWeights& weights() const { return weights_; }
  size_t first() const { return first_; }
  size_t rows() const { return rows_; }

  // Whether any row of the tile visits this neuron.
  bool visits(size_t number) const {
    for (size_t r = 0; r < rows_; ++r) {
      if (visits(r, number)) return true;
    }
    return false;
  }

  // Neuron `number`, whose weights are at `place`. With ReLU, g <= 0 ends it: up is not read, and the result is exact.
  // (Written so that a NaN fires and is seen, rather than being lost.)
  void fire(size_t place, size_t number, Firing& firing, NeuronWork& work) const {
    const std::byte* gate = weights_.gate.row(place);
    bool visited = false;
    firing.count = 0;
    for (size_t r = 0; r < rows_; ++r) {
      if (!visits(r, number)) continue;
      visited = true;
      const float g = gate_dot_(gate, h_.row(weights_.gate.type, first_ + r), h_.cols);
      if (activation_ != Activation::silu && g <= 0) continue;
      firing.row[firing.count] = static_cast<uint32_t>(r);
      firing.value[firing.count++] = g;
    }
    if (visited) work.bytes += gate_bytes_;
    if (firing.count == 0) return;
    work.bytes += up_bytes_;
    work.active += static_cast<uint32_t>(firing.count);
    const std::byte* up = weights_.up.row(place);
    for (size_t i = 0; i < firing.count; ++i) {
      const float u = up_dot_(up, h_.row(weights_.up.type, first_ + firing.row[i]), h_.cols);
      firing.value[i] = hidden(firing.value[i], u);
    }
  }

 private:
  bool visits(size_t row, size_t number) const {
    return active_ == nullptr || is_active(active_ + (first_ + row) * active_stride_, number);
  }

  float hidden(float g, float u) const;

  Activation activation_;
  const NeuronWeights& weights_;
  const Inputs& h_;
  const uint64_t* active_;
  size_t active_stride_, first_, rows_;
  float (*gate_dot_)(const void*, const void*, size_t);
  float (*up_dot_)(const void*, const void*, size_t);
  size_t gate_bytes_, up_bytes_;
};

}  // namespace thermocline
