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

class Placer {
 public:
  Placer(Residency residency, const std::byte* file, MemoryLayout& copies)
      : resident_(residency == Residency::resident), file_(file), copies_(copies) {}

  const std::byte* vector(const TensorRef& tensor) { return matrix(tensor).data; }

  // A whole tensor.
  Matrix matrix(const TensorRef& tensor) {
    const Matrix in_file = mapped(tensor);
    Slice slice{tensor.offset, in_file.stride, tensor.rows, in_file.stride, nullptr, in_file.stride};
    if (!resident_) {
      slices_.push_back(slice);
      return in_file;
    }
    slice.to = copies_.take_bytes(in_file.bytes());
    slices_.push_back(slice);
    return {slice.to, in_file.stride, tensor.rows, tensor.cols, tensor.type};
  }

  // A tensor in the file's pages, neither copied nor paged in ahead.
  Matrix mapped(const TensorRef& tensor) const {
    const std::byte* data = file_ == nullptr ? nullptr : file_ + tensor.offset;
    return {data, row_bytes(tensor.type, tensor.cols), tensor.rows, tensor.cols, tensor.type};
  }

  NeuronWeights neurons(const LayerTensors& tensors, const std::vector<uint32_t>& numbers) {
    NeuronWeights weights{mapped(*tensors.ffn_gate), mapped(*tensors.ffn_up), mapped(*tensors.ffn_down),
                          tensors.down_by_neuron, resident_};
    std::vector<Bundled> parts{{*tensors.ffn_gate, weights.gate}, {*tensors.ffn_up, weights.up}};
    if (tensors.down_by_neuron) parts.push_back({*tensors.ffn_down, weights.down});
    bundle(parts, numbers);
    if (!tensors.down_by_neuron) columns(*tensors.ffn_down, weights.down, numbers);
    return weights;
  }

  std::vector<Slice> take_slices() { return std::move(slices_); }

  uint64_t bytes() const {
    if (resident_) return copies_.bytes();
    uint64_t total = 0;
    for (const Slice& slice : slices_) total = checked_sum(total, slice.total());
    return total;
  }

 private:
  struct Bundled {
    const TensorRef& tensor;
    Matrix& matrix;
  };

  void bundle(const std::vector<Bundled>& parts, const std::vector<uint32_t>& numbers) {
    size_t bundle_bytes = 0;
    for (const Bundled& part : parts) bundle_bytes += part.matrix.stride;
    // Whole cache lines, so that reading one neuron never drags in a piece of another.
    bundle_bytes = (bundle_bytes + MemoryLayout::kAlignment - 1) / MemoryLayout::kAlignment * MemoryLayout::kAlignment;
    std::byte* bundles = resident_ ? copies_.take_bytes(checked_product({numbers.size(), bundle_bytes})) : nullptr;
    size_t start = 0;  // of this part, within a bundle
    for (const Bundled& part : parts) {
      const size_t bytes = part.matrix.stride;
      for_each_run(numbers, [&](const Run& run) {
        slices_.push_back({part.tensor.offset + run.first * bytes, bytes, run.count, bytes,
                           at(bundles, run.index * bundle_bytes + start), bundle_bytes});
      });
      if (resident_) {
        part.matrix.data = at(bundles, start);
        part.matrix.stride = bundle_bytes;
        part.matrix.rows = static_cast<uint32_t>(numbers.size());
      }
      start += bytes;
    }
  }

  // Those columns of ffn_down [embd][ff] that belong to `numbers`, which come in whole blocks.
  void columns(const TensorRef& tensor, Matrix& down, const std::vector<uint32_t>& numbers) {
    const size_t row = down.stride;
    const size_t kept = row_bytes(tensor.type, numbers.size());
    std::byte* copy = resident_ ? copies_.take_bytes(checked_product({tensor.rows, kept})) : nullptr;
    for_each_run(numbers, [&](const Run& run) {
      slices_.push_back({tensor.offset + row_bytes(tensor.type, run.first), row, tensor.rows,
                         row_bytes(tensor.type, run.count), at(copy, row_bytes(tensor.type, run.index)), kept});
    });
    if (resident_) {
      down.data = copy;
      down.stride = kept;
      down.cols = static_cast<uint32_t>(numbers.size());
    }
  }

  bool resident_;
  const std::byte* file_;
  MemoryLayout& copies_;
  std::vector<Slice> slices_;
};

}  // namespace

PlacedWeights place_weights(const ModelTensors& tensors, const Share& share,
                            Residency residency, const std::byte* file, MemoryLayout& copies) {
  Placer placer(residency, file, copies);
  Weights weights{};
  for (size_t l = 0; l < share.layers.size(); ++l) {
    const LayerTensors& from = tensors.layers[l];
    LayerWeights& to = weights.layers.emplace_back();
    to.has_predictor = from.fc1 != nullptr;
    if (share.layers[l].owner) {
      to.attention = {placer.vector(*from.attn_norm), placer.matrix(*from.attn_q), placer.matrix(*from.attn_k),
                      placer.matrix(*from.attn_v), placer.matrix(*from.attn_output)};
      to.ffn_norm = placer.vector(*from.ffn_norm);
      if (to.has_predictor) {
        to.fc1 = placer.matrix(*from.fc1);
        to.fc2 = placer.matrix(*from.fc2);
      }
    }
    if (!share.layers[l].neurons.empty()) to.neurons = placer.neurons(from, share.layers[l].neurons);
  }
  if (share.head) {
    weights.output_norm = placer.vector(*tensors.output_norm);
    weights.output = placer.matrix(*tensors.output);
  }
  if (share.embeds) {
    const bool tied = tensors.output == tensors.token_embd;
    weights.token_embd = share.head && tied ? weights.output : placer.mapped(*tensors.token_embd);
  }
  if (share.owned_layers > 0 && tensors.rope_freqs != nullptr) {
    weights.rope_freqs = placer.mapped(*tensors.rope_freqs).data;
  }
  const uint64_t bytes = placer.bytes();
  return {std::move(weights), placer.take_slices(), bytes};
}

}  // namespace thermocline
