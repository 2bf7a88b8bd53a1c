// The forward pass of a tiny model in doubles, one token after the other, and how far f32 arithmetic on quantized
// activations may stray from it: runs of the same pass in which every rounding is drawn at random (Monte Carlo
// arithmetic, Parker 1997) show the errors that the number formats alone account for.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tiny_model.h"

namespace thermocline::test {

using Vector = std::vector<double>;

// Rounds nothing, or, given random numbers, as the engine may.
class Rounding {
 public:
  Rounding() = default;
  explicit Rounding(uint32_t seed) : on_(true), random_(seed) {}

  double f32(double value) { return value + kF32 * std::abs(value) * draw(); }
  double f16(double value) { return value + kF16 * std::abs(value) * draw(); }
  // `spread`: root of the squares of all products and partial sums.
  double sum(double value, double spread) { return value + kF32 * spread * draw(); }
  // Activations as weights of this type take them.
  Vector input(Vector x, WeightType type) {
    if (!wants_quantized_activation(type)) return x;
    for (size_t start = 0; start < x.size(); start += kBlock) {
      double most = 0;
      for (size_t i = start; i < start + kBlock; ++i) most = std::max(most, std::abs(x[i]));
      for (size_t i = start; i < start + kBlock; ++i) x[i] += most / 127 / 2 * draw();
    }
    return x;
  }

 private:
  static constexpr double kF32 = 0x1p-24;
  static constexpr double kF16 = 0x1p-11;

  double draw() { return on_ ? static_cast<double>(random_()) / 2147483647.5 - 1 : 0; }

  bool on_ = false;
  std::mt19937 random_;
};

class Reference {
 public:
  Reference(const TinyModel& model, Rounding rounding)
      : model_(model), shape_(model.recipe().shape), rounding_(rounding), cache_(shape_.layers) {}

  // Logits after each token.
  std::vector<Vector> run(const std::vector<int32_t>& tokens) {
    std::vector<Vector> logits;
    for (size_t position = 0; position < tokens.size(); ++position) {
      const TinyTensor& embedding = model_.tensor("token_embd");
      const double* row = embedding.row(static_cast<size_t>(tokens[position]));
      Vector x(row, row + shape_.embd);
      for (uint32_t l = 0; l < shape_.layers; ++l) {
        layer_ = l;
        add(x, attention(norm(x, name("attn_norm")), position));
        add(x, feed_forward(x));
      }
      const std::string head = model_.recipe().tied ? "token_embd" : "output";
      logits.push_back(multiply(head, norm(x, "output_norm")));
    }
    return logits;
  }

  // (token, neuron) pairs that fired in each layer; token by token and layer by layer what the FFN adds to, all hidden
  // values and all gates, and the predictor's logits, when there is one.
  const std::vector<uint32_t>& fired() const { return fired_; }
  const Vector& residuals() const { return residuals_; }
  const Vector& hiddens() const { return hiddens_; }
  const Vector& gates() const { return gates_; }
  const Vector& predictor_logits() const { return predictor_logits_; }

 private:
  struct Cache {
    std::vector<Vector> keys, values;
  };

  std::string name(const char* part) const { return "blk." + std::to_string(layer_) + "." + part; }

  WeightType type(const std::string& tensor) const {
    const Recipe& recipe = model_.recipe();
    const size_t dot = tensor.rfind('.');
    const auto found = recipe.types.find(dot == std::string::npos ? tensor : tensor.substr(dot + 1));
    return found == recipe.types.end() ? recipe.type : found->second;
  }

  struct Sum {
    double value, squares;  // of every product and partial sum
  };

  // Most of the work, on data of one thread: the thread sanitizer need not watch it.
  [[gnu::no_sanitize("thread")]] static Sum sum_products(const double* a, const double* b, size_t count) {
    Sum sum{0, 0};
    for (size_t i = 0; i < count; ++i) {
      const double product = a[i] * b[i];
      sum.value += product;
      sum.squares += product * product + sum.value * sum.value;
    }
    return sum;
  }

  double dot(const double* a, const double* b, size_t count) {
    const Sum sum = sum_products(a, b, count);
    return rounding_.sum(sum.value, std::sqrt(sum.squares));
  }

  Vector multiply(const std::string& tensor, const Vector& x) {
    const TinyTensor& weights = model_.tensor(tensor);
    const Vector input = rounding_.input(x, type(tensor));
    Vector y(weights.rows);
    for (size_t i = 0; i < y.size(); ++i) y[i] = dot(weights.row(i), input.data(), input.size());
    return y;
  }

  void add(Vector& x, const Vector& y) {
    for (size_t i = 0; i < x.size(); ++i) x[i] = rounding_.f32(x[i] + y[i]);
  }

  Vector norm(const Vector& x, const std::string& tensor) {
    Vector y = x;
    if (shape_.norm == Norm::layer) {
      const Vector ones(x.size(), 1);
      const double mean = dot(x.data(), ones.data(), x.size()) / x.size();
      for (double& value : y) value = rounding_.f32(value - mean);
    }
    const double mean_square = dot(y.data(), y.data(), y.size()) / y.size();
    const double scale = rounding_.f32(1 / std::sqrt(mean_square + shape_.norm_epsilon));
    const TinyTensor* weight = model_.find(tensor + ".weight");
    const TinyTensor* bias = model_.find(tensor + ".bias");
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = rounding_.f32(y[i] * scale * (weight == nullptr ? 1 : weight->values[i]));
      if (bias != nullptr) y[i] = rounding_.f32(y[i] + bias->values[i]);
    }
    return y;
  }

  void rotate(Vector& heads, size_t position) {
    for (size_t start = 0; start < heads.size(); start += shape_.head_dim) {
      for (size_t i = 0; i < shape_.rope_dims / 2; ++i) {
        const double factor = model_.recipe().rope_factors ? model_.tensor("rope_freqs").row(0)[i] : 1;
        const double power = std::pow(shape_.rope_base, -2.0 * i / shape_.rope_dims);
        const double angle = rounding_.f32(position * shape_.rope_scale * power / factor);
        const bool adjacent = shape_.rope_pairs == RopePairs::adjacent;
        double& a = heads[start + (adjacent ? 2 * i : i)];
        double& b = heads[start + (adjacent ? 2 * i + 1 : i + shape_.rope_dims / 2)];
        const double turned = rounding_.f32(a * std::cos(angle) - b * std::sin(angle));
        b = rounding_.f32(a * std::sin(angle) + b * std::cos(angle));
        a = turned;
      }
    }
  }

  Vector attention(const Vector& n, size_t position) {
    Vector q = multiply(name("attn_q"), n);
    Vector k = multiply(name("attn_k"), n);
    Vector v = multiply(name("attn_v"), n);
    rotate(q, position);
    rotate(k, position);
    for (double& x : k) x = rounding_.f16(x);
    for (double& x : v) x = rounding_.f16(x);
    Cache& cache = cache_[layer_];
    cache.keys.push_back(k);
    cache.values.push_back(v);

    const size_t dim = shape_.head_dim;
    Vector out(q.size());
    for (size_t h = 0; h < shape_.heads; ++h) {
      const size_t shared = h / (shape_.heads / shape_.kv_heads) * dim;
      Vector scores;
      for (const Vector& key : cache.keys) {
        scores.push_back(dot(q.data() + h * dim, key.data() + shared, dim) / std::sqrt(dim));
      }
      double highest = *std::max_element(scores.begin(), scores.end()), total = 0;
      for (double& score : scores) total += score = rounding_.f32(std::exp(score - highest));
      for (size_t p = 0; p < scores.size(); ++p) {
        const double share = rounding_.f32(scores[p] / total);
        for (size_t i = 0; i < dim; ++i) out[h * dim + i] += rounding_.f32(share * cache.values[p][shared + i]);
      }
    }
    return multiply(name("attn_output"), out);
  }

  Vector feed_forward(const Vector& x) {
    residuals_.insert(residuals_.end(), x.begin(), x.end());
    const Vector h = norm(x, name("ffn_norm"));
    const Vector gate = multiply(name("ffn_gate"), h);
    gates_.insert(gates_.end(), gate.begin(), gate.end());
    const Vector up = multiply(name("ffn_up"), h);
    Vector hidden(shape_.ff);
    fired_.resize(shape_.layers);
    const std::vector<bool> active = predict(x);
    for (size_t n = 0; n < shape_.ff; ++n) {
      if (!active[n]) continue;
      const bool fired = fires(gate[n]);
      if (fired) ++fired_[layer_];
      hidden[n] = rounding_.f32(fired ? gated(gate[n], up[n]) : 0);
    }
    hiddens_.insert(hiddens_.end(), hidden.begin(), hidden.end());
    if (!model_.recipe().down_by_neuron) return multiply(name("ffn_down"), hidden);
    const TinyTensor& down = model_.tensor(name("ffn_down_t"));
    Vector out(shape_.embd), column(shape_.ff);
    for (size_t c = 0; c < shape_.embd; ++c) {
      for (size_t n = 0; n < shape_.ff; ++n) column[n] = down.row(n)[c];
      out[c] = dot(column.data(), hidden.data(), shape_.ff);
    }
    return out;
  }

  bool fires(double gate) const {
    return shape_.activation == Activation::silu || (gate > 0 && gate >= shape_.relu_threshold);
  }

  // Of a neuron that fires.
  double gated(double gate, double up) const {
    switch (shape_.activation) {
      case Activation::relu: return gate * up;
      case Activation::relu2: return gate * std::max(up, 0.0);
      case Activation::silu: return gate / (1 + std::exp(-gate)) * up;
    }
    return 0;
  }

  std::vector<bool> predict(const Vector& x) {
    std::vector<bool> active(shape_.ff, true);
    if (model_.recipe().predictor_rank == 0) return active;
    Vector hidden = multiply(name("fc1"), x);
    for (double& value : hidden) value = std::max(value, 0.0);
    const Vector logits = multiply(name("fc2"), hidden);
    predictor_logits_.insert(predictor_logits_.end(), logits.begin(), logits.end());
    for (size_t n = 0; n < shape_.ff; ++n) active[n] = logits[n] >= shape_.predictor_threshold;
    return active;
  }

  const TinyModel& model_;
  ModelShape shape_;
  Rounding rounding_;
  uint32_t layer_ = 0;
  std::vector<Cache> cache_;
  std::vector<uint32_t> fired_;
  Vector residuals_, hiddens_, gates_;
  Vector predictor_logits_;
};

// Gives the model a threshold that no gate comes near, so that rounding moves none across it. Which neurons fire in one
// layer decides the gates of the next, so each candidate is looked at with itself in force.
inline void set_relu_threshold(TinyModel& model, const std::vector<int32_t>& tokens) {
  constexpr uint32_t kCandidates = 16;
  constexpr float kLeast = 0.2f, kStep = 0.02f;  // of gates with a standard deviation of about 1
  float best = 0;
  double farthest = 0;
  for (uint32_t i = 0; i < kCandidates; ++i) {
    const float candidate = kLeast + static_cast<float>(i) * kStep;
    model.set_relu_threshold(candidate);
    Reference reference(model, Rounding());
    reference.run(tokens);
    double nearest = INFINITY;
    for (const double gate : reference.gates()) nearest = std::min(nearest, std::abs(gate - candidate));
    if (nearest > farthest) {
      best = candidate;
      farthest = nearest;
    }
  }
  model.set_relu_threshold(best);
}

// What logits should be, and the largest error that rounding explains.
struct Expected {
  std::vector<Vector> logits;  // after each token
  double tolerance;
  std::vector<uint32_t> fired;

  static Expected of(const TinyModel& model, const std::vector<int32_t>& tokens) {
    Reference exact(model, Rounding());
    Expected expected{exact.run(tokens), 0, exact.fired()};
    // A faultless machine is one more run. To be taken for a faulty one it would have to double the record of all
    // these; the errors are sums of many independent ones, whose largest hardly grows with the number of runs.
    constexpr uint32_t kRuns = 16;
    double largest = 0;
    for (uint32_t run = 1; run <= kRuns; ++run) {
      Reference rounded(model, Rounding(run));
      largest = std::max(largest, expected.error_of(rounded.run(tokens), 0));
    }
    expected.tolerance = 2 * largest;
    return expected;
  }

  // Largest difference; `rows` are the logits after tokens `first`, `first` + 1, ...
  template <class Row>
  double error_of(const std::vector<Row>& rows, size_t first) const {
    double largest = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      for (size_t i = 0; i < rows[r].size(); ++i) {
        const double error = std::abs(rows[r][i] - logits[first + r][i]);
        largest = error <= largest ? largest : error;  // a NaN stays
      }
    }
    return largest;
  }
};

}  // namespace thermocline::test
