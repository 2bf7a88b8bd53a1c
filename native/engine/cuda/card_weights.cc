#include "card_weights.h"

#include <cstring>

#include "../../error.h"

namespace thermocline::cuda {
namespace {

// What is rearranged before it goes to the card: long enough for the bus, and short enough for a prompt cancel.
constexpr size_t kBytesAtATime = 8 << 20;

class Placer {
 public:
  Placer(MemoryLayout& memory, PlacedCardWeights& placed) : memory_(memory), placed_(placed) {}

  CardNorm norm(const NormTensors& tensors) {
    const float* weight = vector(tensors.weight);
    return {weight, vector(tensors.bias)};
  }

  CardMatrix matrix(const TensorRef& tensor) { return rows(tensor, nullptr, tensor.rows); }

  CardNeurons neurons(const LayerTensors& tensors, const std::vector<uint32_t>& numbers) {
    const auto select = [&](const TensorRef& tensor) { return rows(tensor, numbers.data(), numbers.size()); };
    CardNeurons weights{select(*tensors.ffn_gate), select(*tensors.ffn_up), {}, tensors.down_by_neuron,
                        memory_.take<uint32_t>(numbers.size())};
    weights.down = tensors.down_by_neuron ? select(*tensors.ffn_down) : columns(*tensors.ffn_down, numbers);
    placed_.numbers.push_back({&numbers, weights.numbers});
    return weights;
  }

 private:
  const float* vector(const TensorRef* tensor) {
    if (tensor == nullptr) return nullptr;
    const CardMatrix to{memory_.take_bytes(uint64_t{tensor->cols} * sizeof(float)), tensor->type, 1, tensor->cols};
    copy(*tensor, nullptr, to, {{0, row_bytes(tensor->type, tensor->cols)}}, true);
    return reinterpret_cast<const float*>(to.rows);
  }

  CardMatrix take(WeightType type, size_t rows, size_t cols) {
    std::byte* data = memory_.take_bytes(checked_product({rows, card_row_bytes(type, cols)}));
    return {data, type, static_cast<unsigned>(rows), static_cast<unsigned>(cols)};
  }

  CardMatrix rows(const TensorRef& tensor, const uint32_t* numbers, size_t count) {
    const CardMatrix to = take(tensor.type, count, tensor.cols);
    copy(tensor, numbers, to, {{0, row_bytes(tensor.type, tensor.cols)}}, false);
    return to;
  }

  // Those columns of ffn_down [embd][ff] that belong to `numbers`, which come in whole blocks.
  CardMatrix columns(const TensorRef& tensor, const std::vector<uint32_t>& numbers) {
    const CardMatrix to = take(tensor.type, tensor.rows, numbers.size());
    std::vector<RowPiece> pieces;
    for (size_t i = 0; i < numbers.size();) {
      size_t end = i + 1;
      while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
      pieces.push_back({row_bytes(tensor.type, numbers[i]), row_bytes(tensor.type, end - i)});
      i = end;
    }
    copy(tensor, nullptr, to, std::move(pieces), false);
    return to;
  }

  void copy(const TensorRef& tensor, const uint32_t* numbers, const CardMatrix& to, std::vector<RowPiece> pieces,
            bool plain) {
    placed_.copies.push_back(
        {tensor.offset, row_bytes(tensor.type, tensor.cols), numbers, to.count, std::move(pieces), to, plain});
  }

  MemoryLayout& memory_;
  PlacedCardWeights& placed_;
};

// Rows of one copy, made ready and sent some at a time.
class Sender {
 public:
  Sender(const WeightFile& file, const CardCopy& copy, const Upload& upload)
      : file_(file), copy_(copy), upload_(upload) {
    for (const RowPiece& piece : copy.pieces) file_bytes_ += piece.bytes;
    card_bytes_ = copy.plain ? file_bytes_ : card_row_bytes(copy.to.type, copy.to.cols);
    gathered_.resize(copy.pieces.size() > 1 ? file_bytes_ : 0);
  }

  size_t at_once() const { return std::max<size_t>(1, kBytesAtATime / std::max<size_t>(1, card_bytes_)); }

  void send(size_t first, size_t count) {
    ready_.resize(count * card_bytes_);
    for (size_t r = 0; r < count; ++r) {
      const std::byte* row = row_of(first + r);
      std::byte* to = ready_.data() + r * card_bytes_;
      if (copy_.plain) std::memcpy(to, row, file_bytes_);
      else to_card_row(copy_.to.type, row, copy_.to.cols, to);
    }
    upload_(copy_.to.rows + first * card_bytes_, ready_.data(), ready_.size());
  }

 private:
  const std::byte* row_of(size_t row) {
    const uint64_t start = copy_.offset + (copy_.numbers == nullptr ? row : copy_.numbers[row]) * copy_.from_stride;
    if (gathered_.empty()) {
      const RowPiece& all = copy_.pieces.front();
      return file_.slice(start + all.offset, all.bytes);
    }
    std::byte* to = gathered_.data();
    for (const RowPiece& piece : copy_.pieces) {
      std::memcpy(to, file_.slice(start + piece.offset, piece.bytes), piece.bytes);
      to += piece.bytes;
    }
    return gathered_.data();
  }

  const WeightFile& file_;
  const CardCopy& copy_;
  const Upload& upload_;
  size_t file_bytes_ = 0, card_bytes_ = 0;
  std::vector<std::byte> gathered_, ready_;
};

}  // namespace

PlacedCardWeights place_card_weights(const ModelTensors& tensors, const Share& share, MemoryLayout& memory) {
  PlacedCardWeights placed{};
  Placer placer(memory, placed);
  for (size_t l = 0; l < share.layers.size(); ++l) {
    const LayerTensors& from = tensors.layers[l];
    CardLayerWeights to{};
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
    if (!share.layers[l].neurons.empty()) to.neurons = placer.neurons(from, share.layers[l].neurons);
    placed.weights.layers.push_back(to);
  }
  if (share.head) {
    placed.weights.output_norm = placer.norm(tensors.output_norm);
    placed.weights.output = placer.matrix(*tensors.output);
  }
  return placed;
}

void load_card_weights(const WeightFile& file, const PlacedCardWeights& placed, const Upload& upload,
                       const Progress& progress, const CancelFlag& cancel) {
  uint64_t total = 0, done = 0;
  const auto bytes_of = [](const CardCopy& copy, size_t rows) {
    uint64_t bytes = 0;
    for (const RowPiece& piece : copy.pieces) bytes += rows * piece.bytes;
    return bytes;
  };
  for (const CardCopy& copy : placed.copies) total += bytes_of(copy, copy.rows);
  const auto report = [&](uint64_t bytes) {
    if (cancel.load(std::memory_order_relaxed)) {
      throw Error(ErrorCode::cancelled, "loading the weights was cancelled");
    }
    done += bytes;
    if (progress) progress(done, total);
  };
  report(0);
  for (const CardCopy& copy : placed.copies) {
    Sender sender(file, copy, upload);
    for (size_t first = 0; first < copy.rows; first += sender.at_once()) {
      const size_t count = std::min(sender.at_once(), copy.rows - first);
      sender.send(first, count);
      report(bytes_of(copy, count));
    }
  }
  for (const CardNumbers& each : placed.numbers) {
    upload(each.to, reinterpret_cast<const std::byte*>(each.numbers->data()), each.numbers->size() * sizeof(uint32_t));
  }
}

}  // namespace thermocline::cuda
