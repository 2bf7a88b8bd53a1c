#include "weights.h"

namespace thermocline {
namespace {

// Consecutive numbers first .. first + count - 1, from the index-th of a list on.
struct Run {
  size_t index, first, count;
};

template <class Visit>
void for_each_run(const std::vector<uint32_t>& numbers, const Visit& visit) {
  for (size_t i = 0; i < numbers.size();) {
    size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    visit(Run{i, numbers[i], end - i});
    i = end;
  }
}

size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

class Placer {
 public:
  Placer(Residency residency, const std::byte* file, MemoryLayout& memory)
      : resident_(residency == Residency::resident), file_(file), memory_(memory) {}

  NormWeights norm(const NormTensors& tensors) {
    const auto vector = [this](const TensorRef* tensor) { return tensor == nullptr ? nullptr : matrix(*tensor).data; };
    const std::byte* weight = vector(tensors.weight);
    return {weight, vector(tensors.bias)};
  }

  // A whole tensor. The last rows would leave a panel half empty where outputs are written: such ones stay as they are.
  Matrix matrix(const TensorRef& tensor) {
    Matrix placed = mapped(tensor);
    if (resident_) take(placed, tensor.rows % kPanelRows == 0);
    copy(tensor, placed, nullptr, tensor.rows);
    return placed;
  }

  // A tensor in the file's pages, neither copied nor paged in ahead.
  Matrix mapped(const TensorRef& tensor) const {
    const std::byte* data = file_ == nullptr ? nullptr : file_ + tensor.offset;
    return {data, row_bytes(tensor.type, tensor.cols), tensor.rows, tensor.cols, tensor.type};
  }

  NeuronWeights neurons(const LayerTensors& tensors, const std::vector<uint32_t>& numbers, bool dense_gate,
                        bool dense_up) {
    NeuronWeights weights{mapped(*tensors.ffn_gate), mapped(*tensors.ffn_up), mapped(*tensors.ffn_down),
                          tensors.down_by_neuron, resident_, true};
    std::vector<Bundled> bundle;
    const auto add = [&](const TensorRef& tensor, Matrix& placed, bool dense) {
      if (dense) {
        select(tensor, placed, numbers);
      } else {
        bundle.push_back({tensor, placed});
      }
    };
    add(*tensors.ffn_gate, weights.gate, dense_gate);
    // Products of whole panels are put together with those of others.
    add(*tensors.ffn_up, weights.up, dense_up && has_panels(tensors.ffn_gate->type) && has_panels(tensors.ffn_up->type));
    if (tensors.down_by_neuron) bundle.push_back({*tensors.ffn_down, weights.down});
    place_bundle(bundle, numbers);
    if (!tensors.down_by_neuron) columns(*tensors.ffn_down, weights.down, numbers);
    return weights;
  }

  std::vector<Copy> take_copies() { return std::move(copies_); }

  uint64_t bytes() const {
    if (resident_) return memory_.bytes();
    uint64_t total = 0;
    for (const Copy& copy : copies_) total = checked_sum(total, copy.total());
    return total;
  }

 private:
  struct Bundled {
    const TensorRef& tensor;
    Matrix& placed;
  };

  // Memory for a matrix's rows, in panels where that is allowed and there are such.
  void take(Matrix& placed, bool panels) {
    const size_t bytes = row_bytes(placed.type, placed.cols);
    const bool interleave = panels && has_panels(placed.type);
    placed.layout = interleave ? Layout::panels : Layout::rows;
    placed.stride = interleave ? kPanelRows * bytes : bytes;
    const size_t rows = interleave ? round_up(placed.rows, kPanelRows) : placed.rows;
    placed.data = memory_.take_bytes(checked_product({rows, bytes}));
  }

  // Fills a matrix that was given memory from `rows` whole rows of a tensor.
  void copy(const TensorRef& tensor, const Matrix& placed, const uint32_t* numbers, size_t rows) {
    const size_t bytes = row_bytes(tensor.type, tensor.cols);
    std::byte* to = resident_ ? const_cast<std::byte*>(placed.data) : nullptr;
    copies_.push_back({tensor.offset, bytes, numbers, rows, bytes, tensor.type, to, placed.stride, placed.layout});
  }

  // Rows that every token needs.
  void select(const TensorRef& tensor, Matrix& placed, const std::vector<uint32_t>& numbers) {
    if (resident_) {
      placed.rows = static_cast<uint32_t>(numbers.size());
      take(placed, true);
    }
    copy(tensor, placed, numbers.data(), numbers.size());
  }

  void place_bundle(const std::vector<Bundled>& parts, const std::vector<uint32_t>& numbers) {
    size_t bundle_bytes = 0;
    for (const Bundled& part : parts) bundle_bytes += part.placed.stride;
    // Whole cache lines, so that reading one neuron never drags in a piece of another.
    bundle_bytes = round_up(bundle_bytes, MemoryLayout::kAlignment);
    std::byte* bundles = resident_ ? memory_.take_bytes(checked_product({numbers.size(), bundle_bytes})) : nullptr;
    size_t start = 0;  // of this part, within a bundle
    for (const Bundled& part : parts) {
      const size_t bytes = part.placed.stride;
      if (resident_) {
        part.placed.data = at(bundles, start);
        part.placed.stride = bundle_bytes;
        part.placed.rows = static_cast<uint32_t>(numbers.size());
      }
      copy(part.tensor, part.placed, numbers.data(), numbers.size());
      start += bytes;
    }
  }

  // Those columns of ffn_down [embd][ff] that belong to `numbers`, which come in whole blocks.
  void columns(const TensorRef& tensor, Matrix& down, const std::vector<uint32_t>& numbers) {
    const size_t from_stride = down.stride;
    if (resident_) {
      down.cols = static_cast<uint32_t>(numbers.size());
      take(down, tensor.rows % kPanelRows == 0);
    }
    for_each_run(numbers, [&](const Run& run) {
      const size_t block_rows = down.layout == Layout::panels ? kPanelRows : 1;
      std::byte* to = resident_ ? at(const_cast<std::byte*>(down.data), block_rows * row_bytes(tensor.type, run.index))
                                : nullptr;
      copies_.push_back({tensor.offset + row_bytes(tensor.type, run.first), from_stride, nullptr, tensor.rows,
                         row_bytes(tensor.type, run.count), tensor.type, to, down.stride, down.layout});
    });
  }

  bool resident_;
  const std::byte* file_;
  MemoryLayout& memory_;
  std::vector<Copy> copies_;
};

}  // namespace

PlacedWeights place_weights(const ModelTensors& tensors, const Share& share, Activation activation,
                            Residency residency, const std::byte* file, MemoryLayout& memory) {
  Placer placer(residency, file, memory);
  Weights weights{};
  for (size_t l = 0; l < share.layers.size(); ++l) {
    const LayerTensors& from = tensors.layers[l];
    LayerWeights& to = weights.layers.emplace_back();
    to.has_predictor = from.fc1 != nullptr;
    if (share.layers[l].owner) {
      to.attention = {placer.norm(from.attn_norm), placer.matrix(*from.attn_q), placer.matrix(*from.attn_k),
                      placer.matrix(*from.attn_v), placer.matrix(*from.attn_output)};
      to.ffn_norm = placer.norm(from.ffn_norm);
      if (to.has_predictor) {
        to.fc1 = placer.matrix(*from.fc1);
        to.fc2 = placer.matrix(*from.fc2);
      }
    }
    if (!share.layers[l].neurons.empty()) {
      const bool all = !to.has_predictor;
      to.neurons = placer.neurons(from, share.layers[l].neurons, all, all && activation == Activation::silu);
    }
  }
  if (share.head) {
    weights.output_norm = placer.norm(tensors.output_norm);
    weights.output = placer.matrix(*tensors.output);
  }
  if (share.embeds) weights.token_embd = placer.mapped(*tensors.token_embd);
  if (share.owned_layers > 0 && tensors.rope_freqs != nullptr) {
    weights.rope_freqs = placer.mapped(*tensors.rope_freqs).data;
  }
  const uint64_t bytes = placer.bytes();
  return {std::move(weights), placer.take_copies(), bytes};
}

}  // namespace thermocline
