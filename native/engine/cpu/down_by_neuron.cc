#include "down_by_neuron.h"

namespace thermocline {
namespace {

// Clearing and adding an accumulator costs about as much as two rows of F32 weights, or eight of Q4_0: at 64 neurons,
// of which at least the gates are read, an eighth at most, against idle threads with fewer segments. More than 16 would
// only serve more than 16 threads: at 4096 outputs, each takes 32 KiB of a cache for every row.
constexpr size_t kNeuronsPerSegment = 64;
constexpr size_t kMostSegments = 16;

// Elements whose sums stay in the L1 cache while one accumulator after the other is read: 2 KiB.
constexpr size_t kElementsAtATime = 256;

size_t segments_of(size_t neurons) {
  return std::min(kMostSegments, (neurons + kNeuronsPerSegment - 1) / kNeuronsPerSegment);
}

// Neurons of a segment but the last: whole panels.
size_t segment_neurons(size_t neurons) {
  const size_t segments = std::max<size_t>(1, segments_of(neurons));
  return ((neurons + segments - 1) / segments + kPanelRows - 1) / kPanelRows * kPanelRows;
}

}  // namespace

DownByNeuron::DownByNeuron(const ModelShape& shape, size_t tile_rows, size_t neurons, uint32_t threads,
                           MemoryLayout& scratch)
    : embd_(shape.embd),
      tile_rows_(tile_rows),
      gate_and_up_(shape, neurons > 0 ? tile_rows : 0, segment_neurons(neurons), threads, scratch),
      sums_(scratch.take<double>(checked_product({segments_of(neurons), tile_rows, embd_}))),
      used_(scratch.take<uint8_t>(checked_product({segments_of(neurons), tile_rows}))),
      work_(scratch.take<NeuronWork>(tile_rows > 0 ? segments_of(neurons) : 0)) {}

NeuronWork DownByNeuron::run(ThreadPool& pool, const NeuronTile& tile, double* out) {
  const size_t neurons = tile.numbers.size();
  const size_t each = segment_neurons(neurons);
  const size_t segments = (neurons + each - 1) / each;
  pool.parallel_chunks(segments, 1, [&](size_t first, size_t last, uint32_t thread) {
    for (size_t s = first; s < last; ++s) {
      work_[s] = run_segment(tile, s, s * each, std::min(neurons, (s + 1) * each), thread);
    }
  });
  merge(pool, segments, tile.rows, out + tile.first * embd_);
  NeuronWork total;
  for (size_t s = 0; s < segments; ++s) total += work_[s];
  return total;
}

NeuronWork DownByNeuron::run_segment(const NeuronTile& tile, size_t segment, size_t begin, size_t end,
                                     uint32_t thread) {
  const Matrix& down = tile.weights.down;
  const auto accumulate = tile.kernels.accumulate[static_cast<size_t>(down.type)];
  const size_t down_bytes = row_bytes(down.type, embd_);
  double* sums = sums_ + segment * tile_rows_ * embd_;
  uint8_t* used = used_ + segment * tile_rows_;
  std::fill(used, used + tile.rows, uint8_t{0});
  return gate_and_up_.run(tile, begin, end, thread, [&](size_t row, const NeuronBatch& batch) {
    double* to = sums + row * embd_;
    if (!used[row]) std::fill(to, to + embd_, 0.0);
    used[row] = 1;
    const std::byte* rows[NeuronBatch::kSize];
    for (size_t i = 0; i < batch.count; ++i) rows[i] = tile.row_of(down, batch.index[i]);
    accumulate(batch.value, rows, batch.count, to, embd_);
    return down_bytes;
  });
}

void DownByNeuron::merge(ThreadPool& pool, size_t segments, size_t rows, double* out) const {
  const size_t pieces = (embd_ + kElementsAtATime - 1) / kElementsAtATime;
  pool.parallel_for(rows * pieces, [&](size_t begin, size_t end, uint32_t) {
    for (size_t piece = begin; piece < end; ++piece) {
      const size_t row = piece / pieces;
      const size_t first = piece % pieces * kElementsAtATime;
      const size_t count = std::min(kElementsAtATime, embd_ - first);
      double* total = out + row * embd_ + first;
      std::fill_n(total, count, 0.0);
      for (size_t s = 0; s < segments; ++s) {
        if (!used_[s * tile_rows_ + row]) continue;
        const double* sums = sums_ + (s * tile_rows_ + row) * embd_ + first;
        for (size_t i = 0; i < count; ++i) total[i] += sums[i];
      }
    }
  });
}

}  // namespace thermocline
