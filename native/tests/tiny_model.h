// Small random models: the tensors in a file of their own (no GGUF header; plans carry offsets), and as doubles.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "../engine/plan.h"
#include "../kernels/half.h"
#include "../kernels/sub_block.h"
#include "check.h"

namespace thermocline::test {

struct Recipe {
  ModelShape shape{.layers = 3, .embd = 96, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 160, .vocab = 80,
                   .norm = Norm::rms, .norm_epsilon = 1e-5f, .rope_base = 10000, .rope_scale = 1, .rope_dims = 16,
                   .rope_pairs = RopePairs::adjacent, .activation = Activation::relu, .relu_threshold = 0,
                   .predictor_threshold = 0};
  WeightType type = WeightType::f32;          // of every matrix without a type of its own
  std::map<std::string, WeightType> types{};  // by the name's part, such as "ffn_gate"
  bool down_by_neuron = true;
  bool tied = false;
  bool rope_factors = false;
  bool norm_weights = true, norm_biases = false;
  bool attention = true;                      // false: its output projection is 0, and only FFNs change the residual
  uint32_t predictor_rank = 0;                // 0: no predictor
  uint32_t context_length = 48;
  uint32_t seed = 1;
};

struct TinyTensor {
  uint32_t rows, cols;
  std::vector<double> values;
  const double* row(size_t index) const { return values.data() + index * cols; }
};

class TinyModel {
 public:
  explicit TinyModel(const Recipe& recipe) : recipe_(recipe), random_(recipe.seed) {
    const ModelShape& s = recipe.shape;
    add("token_embd", s.vocab, s.embd, 1);
    if (recipe.rope_factors) add_vector("rope_freqs.weight", s.rope_dims / 2, 1);
    for (uint32_t l = 0; l < s.layers; ++l) {
      const std::string blk = "blk." + std::to_string(l) + ".";
      const uint32_t q = s.heads * s.head_dim;
      const uint32_t kv = s.kv_heads * s.head_dim;
      add_norm(blk + "attn_norm");
      add(blk + "attn_q", q, s.embd);
      add(blk + "attn_k", kv, s.embd);
      add(blk + "attn_v", kv, s.embd);
      add(blk + "attn_output", s.embd, q, recipe.attention ? 1.0 / q : 0);
      add_norm(blk + "ffn_norm");
      add(blk + "ffn_gate", s.ff, s.embd);
      add(blk + "ffn_up", s.ff, s.embd);
      if (recipe.down_by_neuron) {
        add(blk + "ffn_down_t", s.ff, s.embd);
      } else {
        add(blk + "ffn_down", s.embd, s.ff);
      }
      if (recipe.predictor_rank > 0) {
        add(blk + "fc1", recipe.predictor_rank, s.embd);
        add(blk + "fc2", s.ff, recipe.predictor_rank);
      }
    }
    add_norm("output_norm");
    if (!recipe.tied) add("output", s.vocab, s.embd);
    write();
  }
  ~TinyModel() { std::remove(path_.c_str()); }
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  const Recipe& recipe() const { return recipe_; }
  const TinyTensor& tensor(const std::string& name) const { return tensors_.at(name + ".weight"); }
  // By its whole name; null where the model has none.
  const TinyTensor* find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  // A plan for executor `executor` of `schedule`.
  EnginePlan plan(const Schedule& schedule, uint32_t executor) const {
    return {.model_path = path_, .model_bytes = file_.size(), .shape = recipe_.shape, .tensors = refs_,
            .schedule = schedule, .executor = executor, .slots = 3, .context_length = recipe_.context_length, .max_rows = 40};
  }

  // Everything on executor 0 of `executors`.
  Schedule schedule(uint32_t executors = 1) const {
    const LayerSchedule layer{0, std::vector<uint8_t>(recipe_.shape.ff, 0)};
    return {std::vector<ExecutorKind>(executors, ExecutorKind::cpu),
            std::vector<LayerSchedule>(recipe_.shape.layers, layer), 0};
  }

  void set_predictor_threshold(float threshold) { recipe_.shape.predictor_threshold = threshold; }
  void set_relu_threshold(float threshold) { recipe_.shape.relu_threshold = threshold; }

 private:
  WeightType type_of(const std::string& name) const {
    const auto found = recipe_.types.find(name.substr(name.rfind('.') == std::string::npos ? 0 : name.rfind('.') + 1));
    return found == recipe_.types.end() ? recipe_.type : found->second;
  }

  double uniform() { return static_cast<double>(random_()) / 2147483647.5 - 1; }

  // Sums over a row of such entries keep the size of what they sum over.
  void add(const std::string& name, uint32_t rows, uint32_t cols) { add(name, rows, cols, 1.0 / cols); }
  void add(const std::string& name, uint32_t rows, uint32_t cols, double variance) {
    const double range = std::sqrt(3 * variance);
    add(name + ".weight", rows, cols, type_of(name), [&] { return range * uniform(); });
  }
  void add_vector(const std::string& name, uint32_t cols, double mean) {
    add(name, 1, cols, WeightType::f32, [&] { return mean + 0.5 * uniform(); });
  }
  void add_norm(const std::string& name) {
    if (recipe_.norm_weights) add_vector(name + ".weight", recipe_.shape.embd, 1);
    if (recipe_.norm_biases) add_vector(name + ".bias", recipe_.shape.embd, 0);
  }

  template <class Draw>
  void add(const std::string& name, uint32_t rows, uint32_t cols, WeightType type, const Draw& draw) {
    file_.resize(file_.size() + 3);  // no tensor starts at an aligned offset
    refs_.push_back({name, type, file_.size(), rows, cols});
    TinyTensor tensor{rows, cols, {}};
    for (size_t i = 0; i < size_t{rows} * cols;) {
      double block[kSuperBlock];
      const size_t count = block_elements(type);
      for (size_t j = 0; j < count; ++j) block[j] = draw();
      append(type, block);
      tensor.values.insert(tensor.values.end(), block, block + count);
      i += count;
    }
    tensors_.emplace(name, std::move(tensor));
  }

  // Appends a block's bytes and replaces its values by what they then stand for.
  void append(WeightType type, double* block) {
    switch (type) {
      case WeightType::f32: return append_f32(block);
      case WeightType::f16: return append_f16(block);
      case WeightType::q8_0: return append_q8_0(block);
      case WeightType::q4_0: return append_q4_0(block);
      case WeightType::bf16: return append_bf16(block);
      case WeightType::q4_k: return append_random<block_formats::Q4_K>(block, 0, kKScaleOfMinimums, 15);
      case WeightType::q5_k: return append_random<block_formats::Q5_K>(block, 0, kKScaleOfMinimums, 31);
      case WeightType::q6_k: return append_random<block_formats::Q6_K>(block, kQ6_KScale, kQ6_KScale, 0);
    }
  }
  void append_f32(double* block) {
    const float value = static_cast<float>(*block);
    append_bytes(&value, sizeof value);
    *block = value;
  }
  void append_f16(double* block) {
    const uint16_t half = to_f16(static_cast<float>(*block));
    append_bytes(&half, sizeof half);
    *block = from_f16(half);
  }
  void append_bf16(double* block) {
    const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(static_cast<float>(*block)) >> 16);
    append_bytes(&bits, sizeof bits);
    *block = from_bf16(bits);
  }
  // The block's scale as f16, such that its largest value becomes `largest` quants.
  double append_scale(const double* block, double largest) {
    double most = 0;
    for (size_t j = 0; j < kBlock; ++j) most = std::max(most, std::abs(block[j]));
    double scale = most / largest;
    append_f16(&scale);
    return scale;
  }
  void append_q8_0(double* block) {
    const double scale = append_scale(block, 127);
    for (size_t j = 0; j < kBlock; ++j) {
      const int8_t quant = static_cast<int8_t>(std::clamp(std::round(block[j] / scale), -127.0, 127.0));
      append_bytes(&quant, 1);
      block[j] = scale * quant;
    }
  }
  void append_q4_0(double* block) {
    const double scale = append_scale(block, 7.5);
    uint8_t nibbles[kBlock];
    for (size_t j = 0; j < kBlock; ++j) {
      nibbles[j] = static_cast<uint8_t>(std::clamp(std::round(block[j] / scale) + 8, 0.0, 15.0));
      block[j] = scale * (nibbles[j] - 8);
    }
    for (size_t j = 0; j < kBlock / 2; ++j) {
      const uint8_t both = static_cast<uint8_t>(nibbles[j] | nibbles[j + kBlock / 2] << 4);
      append_bytes(&both, 1);
    }
  }
  // A K-quant's block of random bytes, which reach every bit of the format, with scales that give it the size of the
  // numbers drawn. Half of the largest quant is what minimums take off so that their mean is about 0.
  template <class Format>
  void append_random(double* block, size_t d_at, size_t minimum_d_at, double largest_quant) {
    const double wanted = size_of(block);
    uint8_t bytes[Format::kBytes];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_());
    const auto scale_by = [&](double d) {
      for (const auto& [at, scale] : {std::pair{minimum_d_at, d * largest_quant / 2}, {d_at, d}}) {
        const uint16_t half = to_f16(static_cast<float>(scale));
        std::memcpy(bytes + at, &half, sizeof half);
      }
      unpack<Format>(bytes, block);
    };
    scale_by(1);
    scale_by(wanted / size_of(block));
    append_bytes(bytes, sizeof bytes);
  }
  template <class Format>
  static void unpack(const uint8_t* bytes, double* block) {
    for (size_t i = 0; i < kSuperBlock; ++i) {
      const SubBlock sub = Format::unpack(bytes, i / kBlock);
      const size_t j = i % kBlock;
      const double value = double{sub.d} * sub.scale[j / (kBlock / 2)] * sub.quants[j];
      block[i] = value - double{sub.minimum_d} * sub.minimum;
    }
  }
  static double size_of(const double* block) {
    double squares = 0;
    for (size_t i = 0; i < kSuperBlock; ++i) squares += block[i] * block[i];
    return std::sqrt(squares / kSuperBlock);
  }
  void append_bytes(const void* data, size_t bytes) {
    const size_t end = file_.size();
    file_.resize(end + bytes);
    std::memcpy(file_.data() + end, data, bytes);
  }

  void write() {
    char name[] = "/tmp/thermocline-model-XXXXXX";
    const int file = ::mkstemp(name);
    CHECK(file >= 0);
    path_ = name;
    CHECK_EQ(::write(file, file_.data(), file_.size()), static_cast<ssize_t>(file_.size()));
    ::close(file);
  }

  Recipe recipe_;
  std::mt19937 random_;
  std::vector<unsigned char> file_;
  std::vector<TensorRef> refs_;
  std::map<std::string, TinyTensor> tensors_;
  std::string path_;
};

}  // namespace thermocline::test
