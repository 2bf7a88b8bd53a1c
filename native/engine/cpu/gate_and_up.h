// First half of the neuron operator: the neurons that fire for a row, and their hidden values act(gate · h) * (up · h).
#pragma once

#include <algorithm>
#include <span>

#include "../active_set.h"
#include "../plan.h"
#include "multiply.h"
#include "neuron_observer.h"
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

// Neurons of one row that are computed together: enough for their rows of weights to be read side by side, each row's
// next line on its way while the others are at work.
struct NeuronBatch {
  static constexpr size_t kSize = 16;
  size_t count = 0;
  uint32_t index[kSize];  // among this executor's neurons
  float value[kSize];

  bool full() const { return count == kSize; }
  void push(size_t neuron, float its_value) {
    index[count] = static_cast<uint32_t>(neuron);
    value[count++] = its_value;
  }
};

// At most kRowTile rows, and what they are to visit. A neuron's rows of weights come from memory once for all of them.
struct NeuronTile {
  const Kernels& kernels;
  const NeuronWeights& weights;
  std::span<const uint32_t> numbers;  // this executor's neurons; mostly ascending
  const Inputs& h;                    // the tile is its rows first .. first + rows - 1
  size_t first, rows;
  const uint64_t* active;             // [rows of h][active_stride]: limits which neurons are visited; null visits all
  size_t active_stride;
  const NeuronObserver* observer;     // null unless the step is observed

  // Calls visit(index) for the neurons begin .. end - 1 that a row is to visit, in order.
  template <class Visit>
  void for_each_visited(size_t row, size_t begin, size_t end, const Visit& visit) const {
    const uint64_t* bits = active == nullptr ? nullptr : active + (first + row) * active_stride;
    const bool consecutive =
        weights.ascending && begin < end && numbers[end - 1] - numbers[begin] == end - 1 - begin;
    if (bits != nullptr && consecutive) {
      const size_t to_index = begin - numbers[begin];
      for_each_active(bits, numbers[begin], numbers[end - 1] + size_t{1}, [&](size_t n) { visit(n + to_index); });
      return;
    }
    for (size_t i = begin; i < end; ++i) {
      if (bits == nullptr || is_active(bits, numbers[i])) visit(i);
    }
  }
  const std::byte* row_of(const Matrix& matrix, size_t index) const {
    return matrix.row(weights.place(index, numbers[index]));
  }
};

class GateAndUp {
 public:
  // Takes scratch for tiles of `tile_rows` rows, of which `neurons` neurons are computed at a time; none when either is
  // 0.
  GateAndUp(const ModelShape& shape, size_t tile_rows, size_t neurons, uint32_t threads, MemoryLayout& scratch);

  // The tile's neurons begin .. end - 1 (begin is a multiple of 16). Calls take(row of the tile, batch) with the hidden
  // values of neurons that fire, but for those that come out 0; it returns the bytes of weights that each of the batch's
  // neurons costs it. With ReLU, a gate of 0 or less, or below the threshold, ends a neuron: up is not read, and the
  // result is exact. (Written so that a NaN fires and is seen, rather than being lost.)
  template <class Take>
  NeuronWork run(const NeuronTile& tile, size_t begin, size_t end, uint32_t thread, const Take& take) const {
    Part part(*this, tile, begin, end, thread);
    part.multiply_panels();
    if (part.is_dense()) {
      for (size_t row = 0; row < tile.rows; ++row) {
        NeuronBatch batch;
        for (size_t i = begin; i < end; i += batch.count) {
          part.take_dense(row, i, batch);
          part.count_down(batch, take(row, batch));
        }
      }
      return part.work();
    }
    for (size_t row = 0; row < tile.rows; ++row) {
      NeuronBatch fired;
      const auto use = [&] {
        if (fired.count == 0) return;
        part.to_hidden(row, fired);
        if (fired.count > 0) part.count_down(fired, take(row, fired));
        fired.count = 0;
      };
      const auto fire = [&](size_t index, float g) {
        part.fire(index);
        fired.push(index, g);
        if (fired.full()) use();
      };
      part.for_each_fired(row, fire);
      use();
    }
    return part.work();
  }

 private:
  enum Read : uint8_t { kGate = 1, kUp = 2, kDown = 4 };

  // What run() is at: one thread's neurons.
  class Part {
   public:
    Part(const GateAndUp& owner, const NeuronTile& tile, size_t begin, size_t end, uint32_t thread);

    // Gates, and ups where every neuron needs one, that lie in panels: for all rows at once.
    void multiply_panels();

    // Whether every neuron fires for every row, and all products are there.
    bool is_dense() const { return up_.layout == Layout::panels; }
    void take_dense(size_t row, size_t first, NeuronBatch& batch);

    template <class Fire>
    void for_each_fired(size_t row, const Fire& fire) {
      if (gate_.layout == Layout::panels) {
        const float* gates = gates_ + row * stride_;
        tile_.for_each_visited(row, begin_, end_, [&](size_t i) {
          if (fires(gates[i - begin_])) fire(i, gates[i - begin_]);
        });
        return;
      }
      NeuronBatch visited;
      const auto multiply = [&] {
        multiply_rows(gate_, row, visited);
        for (size_t i = 0; i < visited.count; ++i) {
          if (fires(visited.value[i])) fire(visited.index[i], visited.value[i]);
        }
        visited.count = 0;
      };
      tile_.for_each_visited(row, begin_, end_, [&](size_t i) {
        mark(i, kGate);
        visited.push(i, 0);
        if (visited.full()) multiply();
      });
      multiply();
    }

    // A neuron fired for a row: its other weights are on their way.
    void fire(size_t index);
    // Gate values of neurons that fired to hidden values; those that are 0 are dropped.
    void to_hidden(size_t row, NeuronBatch& batch);
    void count_down(const NeuronBatch& batch, size_t bytes);
    void observe(size_t row, const NeuronBatch& batch) const;
    const NeuronWork& work() const { return work_; }

   private:
    bool fires(float g) const {
      return owner_.activation_ == Activation::silu || !(g <= 0 || g < owner_.relu_threshold_);
    }
    void multiply_rows(const Matrix& weights, size_t row, NeuronBatch& batch) const;

    // Counts a neuron's weights once a tile.
    bool mark(size_t index, Read what) {
      uint8_t& read = read_[index - begin_];
      if (read & what) return false;
      read = static_cast<uint8_t>(read | what);
      if (what == kGate) work_.bytes += gate_bytes_;
      if (what == kUp) work_.bytes += up_bytes_;
      return true;
    }

    const GateAndUp& owner_;
    const NeuronTile& tile_;
    const Matrix& gate_;
    const Matrix& up_;
    size_t begin_, end_, stride_;
    float* gates_;   // [tile_rows][stride]
    float* ups_;     // likewise
    uint8_t* read_;  // [stride]
    size_t gate_bytes_, up_bytes_;
    NeuronWork work_;
  };

  Activation activation_;
  float relu_threshold_;
  size_t embd_, tile_rows_, stride_;
  float* values_;  // [threads][gates, ups][tile_rows][stride]
  uint8_t* read_;  // [threads][stride]
};

}  // namespace thermocline
