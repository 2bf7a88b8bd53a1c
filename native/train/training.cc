#include "training.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>
#include <tuple>

#include "../error.h"
#include "checkpoint.h"

namespace thermocline {
namespace {

constexpr size_t kBatch = 256;
// A step of Adam moves every weight by about the rate. Weights are about 1 / sqrt(inputs) where inputs and outputs are
// about 1, so that much of it moves them by a few per cent.
constexpr double kRate = 0.02;
constexpr double kWarmUp = 0.03;

double rate_at(double share) {
  if (share < kWarmUp) return share / kWarmUp;
  return 0.5 * (1 + std::cos(std::numbers::pi * (share - kWarmUp) / (1 - kWarmUp)));
}

}  // namespace

Training::Training(Gemm& gemm, Network network, const TrainingOptions& options)
    : gemm_(gemm),
      options_(options),
      network_(std::move(network)),
      beginning_(fingerprint(network_.fc1) ^ fingerprint(network_.fc2)),
      gradient_(make_network(network_.embd, network_.ff, network_.rank)),
      mean_(gradient_),
      square_(gradient_),
      x_(kBatch * network_.embd),
      hidden_(kBatch * network_.rank),
      hidden_gradient_(kBatch * network_.rank),
      logits_(kBatch * network_.ff),
      targets_(gemm.pool().threads(), std::vector<float>(network_.ff)) {}

double Training::differentiate(const ActivationRows& rows, const uint32_t* numbers, size_t count) {
  const auto [embd, ff, rank] = std::tuple(network_.embd, network_.ff, network_.rank);
  for (size_t i = 0; i < count; ++i) std::copy_n(rows.input(numbers[i]), embd, x_.data() + i * embd);
  compute_hidden(gemm_, network_, x_.data(), count, hidden_.data());
  compute_logits(gemm_, network_, hidden_.data(), count, logits_.data());
  std::vector<double> losses(count);
  const float share = 1 / static_cast<float>(count);
  gemm_.pool().parallel_chunks(count, 8, [&](size_t begin, size_t end, uint32_t thread) {
    for (size_t i = begin; i < end; ++i) {
      expand_fired(rows.fired_set(numbers[i]), ff, targets_[thread].data());
      float* logits = logits_.data() + i * ff;
      losses[i] = gemm_.kernels().cross_entropy(logits, targets_[thread].data(), ff, options_.positive_weight);
      for (size_t n = 0; n < ff; ++n) logits[n] *= share;
    }
  });
  gemm_.multiply({ff, rank, count}, transposed(logits_.data(), ff), by_rows(hidden_.data(), rank),
                 gradient_.fc2.data());
  gemm_.multiply({count, rank, ff}, by_rows(logits_.data(), ff), by_rows(network_.fc2.data(), rank),
                 hidden_gradient_.data());
  for (size_t i = 0; i < count * rank; ++i) {
    if (hidden_[i] <= 0) hidden_gradient_[i] = 0;
  }
  gemm_.multiply({rank, embd, count}, transposed(hidden_gradient_.data(), rank), by_rows(x_.data(), embd),
                 gradient_.fc1.data());
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(count * ff);
}

void Training::update(double share) {
  ++step_;
  const double first_bias = 1 - std::pow(double{kAdamBeta1}, static_cast<double>(step_));
  const double second_bias = 1 - std::pow(double{kAdamBeta2}, static_cast<double>(step_));
  const auto move = [&](std::vector<float>& parameters, const std::vector<float>& gradient, std::vector<float>& mean,
                        std::vector<float>& square, size_t inputs) {
    const double rate = kRate * rate_at(share) / std::sqrt(static_cast<double>(inputs)) / first_bias;
    const AdamStep step{static_cast<float>(rate), static_cast<float>(1 / second_bias)};
    gemm_.pool().parallel_chunks(parameters.size(), 1 << 14, [&](size_t begin, size_t end, uint32_t) {
      gemm_.kernels().adam(parameters.data() + begin, gradient.data() + begin, mean.data() + begin,
                           square.data() + begin, end - begin, step);
    });
  };
  move(network_.fc1, gradient_.fc1, mean_.fc1, square_.fc1, network_.embd);
  move(network_.fc2, gradient_.fc2, mean_.fc2, square_.fc2, network_.rank);
}

void Training::run(const ActivationRows& rows, const std::function<void(const TrainingProgress&)>& progress,
                   const std::atomic<bool>& cancel) {
  if (!options_.checkpoint.empty()) load_checkpoint(rows.count);
  const size_t steps = rows.count / kBatch + (rows.count % kBatch != 0);
  std::vector<uint32_t> order(rows.count);
  while (epoch_ < options_.epochs) {
    std::iota(order.begin(), order.end(), uint32_t{0});
    std::mt19937_64 random(options_.seed + epoch_);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random() % i]);
    for (size_t step = 0; step < steps; ++step) {
      if (cancel) throw Error(ErrorCode::cancelled, "the training was cancelled");
      const size_t first = step * kBatch, count = std::min(kBatch, rows.count - first);
      const double done = static_cast<double>(epoch_ * steps + step) / static_cast<double>(options_.epochs * steps);
      const double loss = differentiate(rows, order.data() + first, count);
      update(done);
      progress({epoch_ + 1, options_.epochs, done, loss});
    }
    ++epoch_;
    if (!options_.checkpoint.empty() && epoch_ < options_.epochs) save_checkpoint(rows.count);
  }
}

// The rows decide the first loss's gradient, but not the beginning; whoever keeps checkpoints keeps them by their rows.
CheckpointIdentity Training::identity(size_t rows) const {
  return {network_.embd, network_.ff,     network_.rank,      rows,
          beginning_,    options_.seed, options_.epochs, std::bit_cast<uint32_t>(options_.positive_weight)};
}

void Training::load_checkpoint(size_t rows) {
  CheckpointState state{};
  if (!read_checkpoint(options_.checkpoint, identity(rows), state,
                       {network_.fc1, network_.fc2, mean_.fc1, mean_.fc2, square_.fc1, square_.fc2})) {
    return;
  }
  epoch_ = static_cast<uint32_t>(state.epoch);
  step_ = state.step;
}

void Training::save_checkpoint(size_t rows) const {
  write_checkpoint(options_.checkpoint, identity(rows), {epoch_, step_},
                   {network_.fc1, network_.fc2, mean_.fc1, mean_.fc2, square_.fc1, square_.fc2});
}

}  // namespace thermocline
