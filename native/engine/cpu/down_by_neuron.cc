#include "down_by_neuron.h"

#include <algorithm>

namespace thermocline {
namespace {

// Clearing and adding an accumulator costs about as much as two rows of weights: at 64 neurons, of which at least the
// gates are read, that is 3 %. More than 32 segments would only serve more than 32 threads, and take scratch.
constexpr size_t kNeuronsPerSegment = 64;
constexpr size_t kMostSegments = 32;

// Elements of one row that a thread adds up at a time: 4 KiB of every accumulator, so that they stay in its L1 cache.
constexpr size_t kMergeColumns = 1024;

// The hardware follows a stream from its second or third cache line on; these lines bridge the wait until then.
constexpr size_t kPrefetchBytes = 256;
constexpr size_t kCacheLine = 64;

size_t segments_of(size_t neurons) {
  return std::min(kMostSegments, (neurons + kNeuronsPerSegment - 1) / kNeuronsPerSegment);
}

void prefetch(const std::byte* from) {
  for (size_t i = 0; i < kPrefetchBytes; i += kCacheLine) __builtin_prefetch(from + i);
}

}  // namespace

DownByNeuron::DownByNeuron(size_t embd, size_t tile_rows, size_t neurons, MemoryLayout& scratch)
    : embd_(embd),
      tile_rows_(tile_rows),
      sums_(scratch.take<float>(checked_product({segments_of(neurons), tile_rows, embd}))),
      work_(scratch.take<NeuronWork>(tile_rows > 0 ? segments_of(neurons) : 0)) {}

NeuronWork DownByNeuron::run(const Compute& compute, const GateAndUp& gate, std::span<const uint32_t> numbers,
                             float* out) {
  const size_t segments = segments_of(numbers.size());
  compute.pool.parallel_for(segments, [&](size_t begin, size_t end, uint32_t) {
    for (size_t s = begin; s < end; ++s) {
      const size_t from = numbers.size() * s / segments;
      const size_t to = numbers.size() * (s + 1) / segments;
      work_[s] = run_segment(compute.kernels, gate, numbers, from, to, sums_ + s * tile_rows_ * embd_);
    }
  });
  merge(compute, segments, gate.rows(), out + gate.first() * embd_);
  NeuronWork total;
  for (size_t s = 0; s < segments; ++s) total += work_[s];
  return total;
}

NeuronWork DownByNeuron::run_segment(const Kernels& kernels, const GateAndUp& gate, std::span<const uint32_t> numbers,
                                     size_t begin, size_t end, float* sums) const {
  const NeuronWeights& weights = gate.weights();
  const auto add_scaled = kernels.add_scaled[static_cast<size_t>(weights.down.type)];
  const size_t down_bytes = row_bytes(weights.down.type, embd_);
  const auto next_visited = [&](size_t i) {
    while (i < end && !gate.visits(numbers[i])) ++i;
    return i;
  };
  std::fill(sums, sums + gate.rows() * embd_, 0.0f);
  NeuronWork work;
  Firing firing;
  for (size_t i = next_visited(begin); i < end;) {
    const size_t next = next_visited(i + 1);
    if (next < end) prefetch(weights.gate.row(weights.place(next, numbers[next])));
    const size_t place = weights.place(i, numbers[i]);
    gate.fire(place, numbers[i], firing, work);
    bool read = false;
    for (size_t f = 0; f < firing.count; ++f) {
      if (firing.value[f] == 0) continue;
      add_scaled(firing.value[f], weights.down.row(place), sums + firing.row[f] * embd_, embd_);
      read = true;
    }
    if (read) work.bytes += down_bytes;
    i = next;
  }
  return work;
}

void DownByNeuron::merge(const Compute& compute, size_t segments, size_t rows, float* out) const {
  const size_t parts = (embd_ + kMergeColumns - 1) / kMergeColumns;
  compute.pool.parallel_for(rows * parts, [&](size_t begin, size_t end, uint32_t) {
    for (size_t i = begin; i < end; ++i) {
      const size_t row = i / parts * embd_;
      const size_t from = i % parts * kMergeColumns;
      const size_t to = std::min(embd_, from + kMergeColumns);
      std::copy(sums_ + row + from, sums_ + row + to, out + row + from);
      for (size_t s = 1; s < segments; ++s) {
        const float* sums = sums_ + s * tile_rows_ * embd_ + row;
        for (size_t c = from; c < to; ++c) out[row + c] += sums[c];
      }
    }
  });
}

}  // namespace thermocline
