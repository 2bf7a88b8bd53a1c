#include "down_by_neuron.h"

#include <algorithm>

namespace thermocline {
namespace {

// Clearing and adding an accumulator costs about as much as two rows of F32 weights, or eight of Q4_0: at 64 neurons,
// of which at least the gates are read, an eighth at most, against idle threads with fewer segments. More than 32 would
// only serve more than 32 threads, and take scratch: for 32 rows of 4096 outputs, 32 of them take 32 MiB.
constexpr size_t kNeuronsPerSegment = 64;
constexpr size_t kMostSegments = 32;

// Elements whose sums stay in the L1 cache while one accumulator after the other is read: 2 KiB.
constexpr size_t kElementsAtATime = 256;

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
      sums_(scratch.take<double>(checked_product({segments_of(neurons), tile_rows, embd}))),
      work_(scratch.take<NeuronWork>(tile_rows > 0 ? segments_of(neurons) : 0)) {}

NeuronWork DownByNeuron::run(const Compute& compute, const GateAndUp& gate, std::span<const uint32_t> numbers,
                             double* out) {
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
                                     size_t begin, size_t end, double* sums) const {
  const NeuronWeights& weights = gate.weights();
  const auto accumulate = kernels.accumulate[static_cast<size_t>(weights.down.type)];
  const size_t down_bytes = row_bytes(weights.down.type, embd_);
  const auto next_visited = [&](size_t i) {
    while (i < end && !gate.visits(numbers[i])) ++i;
    return i;
  };
  std::fill(sums, sums + gate.rows() * embd_, 0.0);
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
      accumulate(firing.value[f], weights.down.row(place), sums + firing.row[f] * embd_, embd_);
      read = true;
    }
    if (read) work.bytes += down_bytes;
    i = next;
  }
  return work;
}

void DownByNeuron::merge(const Compute& compute, size_t segments, size_t rows, double* out) const {
  const size_t elements = rows * embd_;
  const size_t pieces = (elements + kElementsAtATime - 1) / kElementsAtATime;
  compute.pool.parallel_for(pieces, [&](size_t begin, size_t end, uint32_t) {
    double total[kElementsAtATime];
    for (size_t piece = begin; piece < end; ++piece) {
      const size_t first = piece * kElementsAtATime;
      const size_t count = std::min(kElementsAtATime, elements - first);
      std::fill_n(total, count, 0.0);
      for (size_t s = 0; s < segments; ++s) {
        const double* sums = sums_ + s * tile_rows_ * embd_ + first;
        for (size_t i = 0; i < count; ++i) total[i] += sums[i];
      }
      std::copy_n(total, count, out + first);
    }
  });
}

}  // namespace thermocline
