#include "down_by_output.h"

#include <algorithm>

namespace thermocline {
namespace {

size_t groups_of(size_t neurons) { return (neurons + kBlock - 1) / kBlock; }

std::span<const uint32_t> group_numbers(std::span<const uint32_t> numbers, size_t group) {
  const size_t first = group * kBlock;
  return numbers.subspan(first, std::min(kBlock, numbers.size() - first));
}

}  // namespace

DownByOutput::DownByOutput(size_t embd, size_t tile_rows, size_t neurons, MemoryLayout& scratch)
    : embd_(embd),
      groups_(groups_of(neurons)),
      hidden_(scratch.take<float>(checked_product({tile_rows, groups_, kBlock}))),
      quantized_(scratch.take<Q8Activation>(checked_product({tile_rows, groups_}))),
      nonzero_(scratch.take<uint8_t>(checked_product({tile_rows, groups_}))),
      runs_(scratch.take<Run>(checked_product({tile_rows, groups_}))),
      run_count_(scratch.take<size_t>(groups_ > 0 ? tile_rows : 0)),
      work_(scratch.take<NeuronWork>(tile_rows > 0 ? groups_ : 0)) {}

NeuronWork DownByOutput::run(const Compute& compute, const GateAndUp& gate, std::span<const uint32_t> numbers,
                             double* out) {
  const size_t groups = groups_of(numbers.size());
  compute.pool.parallel_for(groups, [&](size_t begin, size_t end, uint32_t) {
    for (size_t g = begin; g < end; ++g) work_[g] = compute_group(compute.kernels, gate, numbers, g);
  });
  find_runs(gate, numbers);
  compute.pool.parallel_for(embd_, [&](size_t begin, size_t end, uint32_t) {
    project(compute.kernels, gate, begin, end, out + gate.first() * embd_);
  });

  NeuronWork total;
  for (size_t g = 0; g < groups; ++g) {
    total += work_[g];
    bool read = false;
    for (size_t r = 0; r < gate.rows(); ++r) read = read || nonzero_[r * groups_ + g] != 0;
    if (read) total.bytes += embd_ * row_bytes(gate.weights().down.type, group_numbers(numbers, g).size());
  }
  return total;
}

// The hidden values of one group's neurons, and their quantized block where ffn_down wants one.
NeuronWork DownByOutput::compute_group(const Kernels& kernels, const GateAndUp& gate,
                                       std::span<const uint32_t> numbers, size_t group) {
  const NeuronWeights& weights = gate.weights();
  const std::span<const uint32_t> members = group_numbers(numbers, group);
  for (size_t r = 0; r < gate.rows(); ++r) {
    nonzero_[r * groups_ + group] = 0;
    float* hidden = hidden_ + (r * groups_ + group) * kBlock;
    std::fill(hidden, hidden + kBlock, 0.0f);
  }
  NeuronWork work;
  Firing firing;
  for (size_t m = 0; m < members.size(); ++m) {
    gate.fire(weights.place(group * kBlock + m, members[m]), members[m], firing, work);
    for (size_t f = 0; f < firing.count; ++f) {
      const size_t at = firing.row[f] * groups_ + group;
      hidden_[at * kBlock + m] = firing.value[f];
      if (firing.value[f] != 0) nonzero_[at] = 1;
    }
  }
  if (!Inputs::wants_quantized(weights.down.type)) return work;
  for (size_t r = 0; r < gate.rows(); ++r) {
    const size_t at = r * groups_ + group;
    if (nonzero_[at] != 0) kernels.quantize(hidden_ + at * kBlock, quantized_ + at, kBlock);
  }
  return work;
}

// Runs end where the neurons' numbers leave a gap, also in compact copies: the sums are then added in the same order
// wherever the weights are.
void DownByOutput::find_runs(const GateAndUp& gate, std::span<const uint32_t> numbers) {
  const NeuronWeights& weights = gate.weights();
  const size_t groups = groups_of(numbers.size());
  for (size_t r = 0; r < gate.rows(); ++r) {
    Run* runs = runs_ + r * groups_;
    size_t count = 0;
    for (size_t g = 0; g < groups; ++g) {
      if (nonzero_[r * groups_ + g] == 0) continue;
      const std::span<const uint32_t> members = group_numbers(numbers, g);
      const bool follows = g > 0 && nonzero_[r * groups_ + g - 1] != 0 && members[0] == numbers[g * kBlock - 1] + 1;
      if (!follows) {
        const size_t first = weights.place(g * kBlock, members[0]);
        runs[count++] = {g, 0, row_bytes(weights.down.type, first)};
      }
      runs[count - 1].elements += members.size();
    }
    run_count_[r] = count;
  }
}

// Outputs begin .. end - 1 of every row of the tile.
void DownByOutput::project(const Kernels& kernels, const GateAndUp& gate, size_t begin, size_t end,
                           double* out) const {
  const Matrix& down = gate.weights().down;
  const auto dot = kernels.wide_dot[static_cast<size_t>(down.type)];
  const Inputs hidden{hidden_, quantized_, groups_ * kBlock};
  for (size_t o = begin; o < end; ++o) {
    for (size_t r = 0; r < gate.rows(); ++r) {
      double sum = 0;
      for (const Run& run : std::span(runs_ + r * groups_, run_count_[r])) {
        sum += dot(down.row(o) + run.weight_offset, hidden.row(down.type, r, run.group), run.elements);
      }
      out[r * embd_ + o] = sum;
    }
  }
}

}  // namespace thermocline
