#include "model_tensors.h"

#include <string_view>
#include <unordered_map>

#include "checked.h"

namespace thermocline {
namespace {

class Finder {
 public:
  explicit Finder(const EnginePlan& plan) : plan_(plan), known_(plan.tensors.size()) {
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
      check_extent(i);
      if (!index_.emplace(plan.tensors[i].name, i).second) {
        fail(ErrorCode::invalid_argument, i, "name", plan.tensors[i].name + " is listed twice");
      }
    }
  }

  // The tensor of that name, or nullptr.
  const TensorRef* find(const std::string& name) {
    const auto found = index_.find(name);
    if (found == index_.end()) return nullptr;
    known_[found->second] = true;
    return &plan_.tensors[found->second];
  }

  const TensorRef* find_matrix(const std::string& name, uint64_t rows, uint64_t cols) {
    const TensorRef* tensor = find(name);
    if (tensor != nullptr && (tensor->rows != rows || tensor->cols != cols)) {
      fail(ErrorCode::invalid_argument, position(tensor), tensor->rows != rows ? "rows" : "cols",
           name + " has " + std::to_string(tensor->rows) + " rows of " + std::to_string(tensor->cols) +
               ", the model's shape asks for " + std::to_string(rows) + " of " + std::to_string(cols));
    }
    return tensor;
  }

  const TensorRef* matrix(const std::string& name, uint64_t rows, uint64_t cols) {
    return present(find_matrix(name, rows, cols), name);
  }

  const TensorRef* find_vector(const std::string& name, uint64_t cols) {
    const TensorRef* tensor = find_matrix(name, 1, cols);
    if (tensor != nullptr && tensor->type != WeightType::f32) {
      fail(ErrorCode::unsupported, position(tensor), "type",
           name + " is " + name_of(tensor->type) + "; norms and rotary factors must be f32");
    }
    return tensor;
  }

  const TensorRef* vector(const std::string& name, uint64_t cols) { return present(find_vector(name, cols), name); }

  NormTensors norm(const std::string& name) {
    const uint32_t embd = plan_.shape.embd;
    if (plan_.shape.norm == Norm::rms) return {vector(name + ".weight", embd), nullptr};
    return {find_vector(name + ".weight", embd), find_vector(name + ".bias", embd)};
  }

  const TensorRef* present(const TensorRef* tensor, const std::string& name) const {
    if (tensor == nullptr) throw Error(ErrorCode::invalid_argument, "the plan lists no " + name, "tensors");
    return tensor;
  }

  // Leaving a tensor out of the computation would give wrong tokens without a word.
  void reject_unknown() const {
    for (size_t i = 0; i < known_.size(); ++i) {
      if (known_[i]) continue;
      fail(ErrorCode::unsupported, i, "name",
           plan_.tensors[i].name + " has no place in a llama model of " + std::to_string(plan_.shape.layers) +
               " layers; this engine cannot compute with it");
    }
  }

  size_t position(const TensorRef* tensor) const { return static_cast<size_t>(tensor - plan_.tensors.data()); }

  [[noreturn]] void fail(ErrorCode code, size_t tensor, const char* field, const std::string& message) const {
    throw Error(code, message, "tensors[" + std::to_string(tensor) + "]." + field);
  }

 private:
  void check_extent(size_t i) const {
    const TensorRef& tensor = plan_.tensors[i];
    if (tensor.rows == 0) fail(ErrorCode::invalid_argument, i, "rows", tensor.name + " has no rows");
    if (tensor.cols == 0) fail(ErrorCode::invalid_argument, i, "cols", tensor.name + " has no columns");
    const size_t block = block_elements(tensor.type);
    if (tensor.cols % block != 0) {
      fail(ErrorCode::invalid_argument, i, "cols",
           tensor.name + " has " + std::to_string(tensor.cols) + " columns; " + name_of(tensor.type) +
               " needs a multiple of " + std::to_string(block));
    }
    const uint64_t bytes = checked_product({tensor.rows, row_bytes(tensor.type, tensor.cols)});
    if (tensor.offset > plan_.model_bytes || bytes > plan_.model_bytes - tensor.offset) {
      fail(ErrorCode::invalid_argument, i, "offset",
           tensor.name + " takes " + std::to_string(bytes) + " bytes from offset " + std::to_string(tensor.offset) +
               ", past the file's " + std::to_string(plan_.model_bytes) + " bytes");
    }
  }

  const EnginePlan& plan_;
  std::vector<bool> known_;
  std::unordered_map<std::string_view, size_t> index_;
};

LayerTensors find_layer(Finder& finder, const ModelShape& shape, uint32_t layer) {
  const std::string block = "blk." + std::to_string(layer) + ".";
  const auto name = [&block](const char* part) { return block + part + ".weight"; };
  const uint64_t q = uint64_t{shape.heads} * shape.head_dim;
  const uint64_t kv = uint64_t{shape.kv_heads} * shape.head_dim;
  LayerTensors tensors{
      .attn_norm = finder.norm(block + "attn_norm"),
      .attn_q = finder.matrix(name("attn_q"), q, shape.embd),
      .attn_k = finder.matrix(name("attn_k"), kv, shape.embd),
      .attn_v = finder.matrix(name("attn_v"), kv, shape.embd),
      .attn_output = finder.matrix(name("attn_output"), shape.embd, q),
      .ffn_norm = finder.norm(block + "ffn_norm"),
      .ffn_gate = finder.matrix(name("ffn_gate"), shape.ff, shape.embd),
      .ffn_up = finder.matrix(name("ffn_up"), shape.ff, shape.embd),
      .ffn_down = finder.find_matrix(name("ffn_down_t"), shape.ff, shape.embd),
      .down_by_neuron = true,
      .fc1 = finder.find(name("fc1")),
      .fc2 = nullptr,
  };
  const TensorRef* by_output = finder.find_matrix(name("ffn_down"), shape.embd, shape.ff);
  if (tensors.ffn_down == nullptr) {
    tensors.ffn_down = finder.present(by_output, name("ffn_down"));
    tensors.down_by_neuron = false;
  }
  if (tensors.fc1 != nullptr) {
    finder.find_matrix(name("fc1"), tensors.fc1->rows, shape.embd);
    tensors.fc2 = finder.matrix(name("fc2"), shape.ff, tensors.fc1->rows);
  }
  return tensors;
}

}  // namespace

ModelTensors find_tensors(const EnginePlan& plan) {
  const ModelShape& shape = plan.shape;
  Finder finder(plan);
  ModelTensors tensors{
      .token_embd = finder.matrix("token_embd.weight", shape.vocab, shape.embd),
      .output_norm = finder.norm("output_norm"),
      .output = finder.find_matrix("output.weight", shape.vocab, shape.embd),
      .rope_freqs = finder.find_vector("rope_freqs.weight", shape.rope_dims / 2),
      .layers = {},
  };
  if (tensors.output == nullptr) tensors.output = tensors.token_embd;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    tensors.layers.push_back(find_layer(finder, shape, layer));
  }
  finder.reject_unknown();
  return tensors;
}

}  // namespace thermocline
