#include "down_by_output.h"

namespace thermocline {
namespace {

// Neurons that a thread takes at a time: 64 gates and ups of 4096 columns in Q4_0 are 288 KiB, some 10 us of reading.
constexpr size_t kNeuronsAtATime = 64;
// Outputs, likewise: as many panels as are read side by side.
constexpr size_t kOutputsAtATime = 4 * kPanelRows;

size_t blocks_of(size_t neurons) { return (neurons + kBlock - 1) / kBlock; }

size_t group_neurons(const Matrix& down) { return std::max(kBlock, block_elements(down.type)); }

}  // namespace

DownByOutput::DownByOutput(const ModelShape& shape, size_t tile_rows, size_t neurons, uint32_t threads,
                           MemoryLayout& scratch)
    : embd_(shape.embd),
      blocks_(blocks_of(neurons)),
      gate_and_up_(shape, neurons > 0 ? tile_rows : 0, kNeuronsAtATime, threads, scratch),
      hidden_(scratch.take<float>(checked_product({tile_rows, blocks_, kBlock}))),
      quantized_(scratch.take<Q8Activation>(checked_product({tile_rows, blocks_}))),
      nonzero_(scratch.take<uint8_t>(checked_product({tile_rows, blocks_}))),
      runs_(scratch.take<Run>(checked_product({tile_rows, blocks_}))),
      run_count_(scratch.take<size_t>(blocks_ > 0 ? tile_rows : 0)),
      work_(scratch.take<NeuronWork>(tile_rows > 0 ? blocks_ : 0)) {}

NeuronWork DownByOutput::run(ThreadPool& pool, const NeuronTile& tile, double* out) {
  const size_t neurons = tile.numbers.size();
  const size_t chunks = (neurons + kNeuronsAtATime - 1) / kNeuronsAtATime;
  pool.parallel_chunks(chunks, 1, [&](size_t first, size_t last, uint32_t thread) {
    for (size_t c = first; c < last; ++c) {
      const size_t begin = c * kNeuronsAtATime;
      work_[c] = compute_hidden(tile, begin, std::min(neurons, begin + kNeuronsAtATime), thread);
    }
  });
  const size_t group = group_neurons(tile.weights.down);
  find_runs(tile, group);
  const size_t outputs = (embd_ + kOutputsAtATime - 1) / kOutputsAtATime;
  pool.parallel_chunks(outputs, 1, [&](size_t first, size_t last, uint32_t) {
    const size_t begin = first * kOutputsAtATime;
    project(tile, begin, std::min(embd_, last * kOutputsAtATime) - begin, out + tile.first * embd_);
  });

  NeuronWork total;
  for (size_t c = 0; c < chunks; ++c) total += work_[c];
  for (size_t first = 0; first < neurons; first += group) {
    bool read = false;
    for (size_t r = 0; r < tile.rows; ++r) read = read || nonzero_[r * blocks_ + first / kBlock] != 0;
    if (read) total.bytes += embd_ * row_bytes(tile.weights.down.type, std::min(group, neurons - first));
  }
  return total;
}

// The hidden values of some neurons, and their quantized blocks where ffn_down wants them.
NeuronWork DownByOutput::compute_hidden(const NeuronTile& tile, size_t begin, size_t end, uint32_t thread) {
  for (size_t r = 0; r < tile.rows; ++r) {
    float* hidden = hidden_ + r * blocks_ * kBlock;
    std::fill(hidden + begin, hidden + std::min(blocks_ * kBlock, begin + blocks_of(end - begin) * kBlock), 0.0f);
    std::fill_n(nonzero_ + r * blocks_ + begin / kBlock, blocks_of(end - begin), uint8_t{0});
  }
  const NeuronWork work = gate_and_up_.run(tile, begin, end, thread, [&](size_t row, const NeuronBatch& batch) {
    for (size_t i = 0; i < batch.count; ++i) {
      hidden_[row * blocks_ * kBlock + batch.index[i]] = batch.value[i];
      nonzero_[row * blocks_ + batch.index[i] / kBlock] = 1;
    }
    return 0;
  });
  if (!wants_quantized_activation(tile.weights.down.type)) return work;
  for (size_t r = 0; r < tile.rows; ++r) {
    const size_t at = r * blocks_ + begin / kBlock;
    tile.kernels.quantize(hidden_ + at * kBlock, quantized_ + at, blocks_of(end - begin) * kBlock);
  }
  return work;
}

// Runs end where the neurons' numbers leave a gap, also in compact copies: the sums are then added in the same order
// wherever the weights are. A group counts as nonzero with any of its blocks.
void DownByOutput::find_runs(const NeuronTile& tile, size_t group) {
  const NeuronWeights& weights = tile.weights;
  const size_t neurons = tile.numbers.size();
  for (size_t r = 0; r < tile.rows; ++r) {
    Run* runs = runs_ + r * blocks_;
    uint8_t* nonzero = nonzero_ + r * blocks_;
    size_t count = 0;
    for (size_t first = 0; first < neurons; first += group) {
      const size_t members = std::min(group, neurons - first);
      const bool any = std::any_of(nonzero + first / kBlock, nonzero + first / kBlock + blocks_of(members),
                                   [](uint8_t block) { return block != 0; });
      nonzero[first / kBlock] = any;
      if (!any) continue;
      const bool follows = count > 0 && runs[count - 1].first + runs[count - 1].elements == first &&
                           tile.numbers[first] == tile.numbers[first - 1] + 1;
      if (!follows) {
        const size_t place = weights.place(first, tile.numbers[first]);
        runs[count++] = {first, 0, row_bytes(weights.down.type, place)};
      }
      runs[count - 1].elements += members;
    }
    run_count_[r] = count;
  }
}

// Whether all rows need the same groups, as in a dense layer: then they are computed together.
bool DownByOutput::rows_agree(size_t rows) const {
  for (size_t r = 1; r < rows; ++r) {
    if (run_count_[r] != run_count_[0]) return false;
    if (!std::equal(runs_, runs_ + run_count_[0], runs_ + r * blocks_)) return false;
  }
  return true;
}

// Outputs first .. first + count - 1 of every row of the tile.
void DownByOutput::project(const NeuronTile& tile, size_t first, size_t count, double* out) const {
  const Matrix& down = tile.weights.down;
  const Inputs hidden{hidden_, quantized_, blocks_ * kBlock};
  const size_t together = rows_agree(tile.rows) ? tile.rows : 1;
  for (size_t r = 0; r < tile.rows; r += together) {
    for (size_t i = 0; i < together; ++i) std::fill_n(out + (r + i) * embd_ + first, count, 0.0);
    for (const Run& run : std::span(runs_ + r * blocks_, run_count_[r])) {
      add_part_f64(tile.kernels, down, first, count, run.weight_offset,
                   hidden.rows(down.type, r, together, run.first / kBlock), run.elements, out + r * embd_ + first,
                   embd_);
    }
  }
}

}  // namespace thermocline
