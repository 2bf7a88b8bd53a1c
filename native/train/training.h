// Trains a predictor by gradient descent: binary cross-entropy of its logits with what fired, in batches, by Adam.
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "activation_rows.h"
#include "checkpoint.h"
#include "network.h"

namespace thermocline {

struct TrainingOptions {
  uint32_t epochs;
  uint64_t seed;
  // Of pairs that fire, so that logits of 0 find most of them.
  float positive_weight;
  // Where the state after every epoch is kept, and continued from; empty keeps none. Another training's is ignored.
  std::string checkpoint;
};

struct TrainingProgress {
  uint32_t epoch, epochs;
  double done;  // share of the training
  double loss;  // mean over a batch's pairs, in nats
};

// A network, its optimizer's state, and one batch's activations.
class Training {
 public:
  Training(Gemm& gemm, Network network, const TrainingOptions& options);

  const Network& network() const { return network_; }

  // Continues from the checkpoint, if there is one, and trains to the end. The same bits for the same arguments,
  // interrupted or not. Throws Error `cancelled`; `system` when the checkpoint cannot be written.
  void run(const ActivationRows& rows, const std::function<void(const TrainingProgress&)>& progress,
           const std::atomic<bool>& cancel);

  // The gradient of the loss over rows [count] of `rows`, a sum over neurons and mean over rows, into gradient();
  // returns the mean loss of a pair.
  double differentiate(const ActivationRows& rows, const uint32_t* numbers, size_t count);
  const Network& gradient() const { return gradient_; }

 private:
  void update(double share);
  CheckpointIdentity identity(size_t rows) const;
  void load_checkpoint(size_t rows);
  void save_checkpoint(size_t rows) const;

  Gemm& gemm_;
  TrainingOptions options_;
  Network network_;
  uint64_t beginning_;  // fingerprint of the network that training began with
  Network gradient_, mean_, square_;
  uint64_t step_ = 0;
  uint32_t epoch_ = 0;
  std::vector<float> x_, hidden_, hidden_gradient_, logits_;
  std::vector<std::vector<float>> targets_;  // a row of them for each thread
};

}  // namespace thermocline
