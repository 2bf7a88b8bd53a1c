// Predictors of one layer, made from what was observed of it, each measured as a file would store it.
#pragma once

#include <map>
#include <optional>

#include "initial_network.h"
#include "operating_point.h"
#include "training.h"

namespace thermocline {

// Files of activation_rows.h. A neuron's margin is set with `calibration`; figures are those of `test`.
struct LayerActivationFiles {
  std::string training, calibration, test;
};

// `trained` begins as the better of the other two.
enum class PredictorKind { paired, shifted, trained };

struct FitOptions {
  PredictorKind kind;
  uint32_t rank;
  WeightType type;
  double recall;  // of the pairs that fire; to be met in the calibration's rows
  uint32_t epochs;
  uint64_t seed;
  std::string checkpoint;  // as TrainingOptions has it
};

struct FittedPredictor {
  std::vector<uint8_t> fc1, fc2;  // [rank][embd] and [ff][rank], stored as the type
  Confusion calibration, test;
  double loss;  // mean of the last epoch's batches; 0 for one that was not trained
};

class LayerTraining {
 public:
  // Reads the files. `most_rank` is the largest rank there will be: what the gates are made of is found once, for all of
  // them, so that a predictor does not depend on those before it. Throws Error as read_activation_rows() does;
  // `invalid_argument` when a file has no rows.
  LayerTraining(uint32_t threads, size_t embd, size_t ff, uint32_t most_rank, const LayerActivationFiles& files,
                Gate gate);

  // Throws Error `invalid_argument` (a rank below 2 or above the largest, or one with more directions than there are), `unsupported` (the type's blocks do not fit), `cancelled`, `system` (the checkpoint).
  FittedPredictor fit(const FitOptions& options, const std::function<void(const TrainingProgress&)>& progress,
                      const std::atomic<bool>& cancel);

  const ActivationRows& training_rows() const { return training_; }

 private:
  const GateComponents& components(uint64_t seed, const std::atomic<bool>& cancel);
  Network begin(Form form, const FitOptions& options, const std::atomic<bool>& cancel);
  FittedPredictor finish(const Network& network, bool by_neuron, const FitOptions& options);

  ThreadPool pool_;
  Gemm gemm_;
  Gate gate_;
  ActivationRows training_, calibration_, test_;
  InputSample sample_;
  InputMoments moments_;
  size_t directions_;
  std::optional<GateComponents> components_;
  uint64_t components_seed_ = 0;
};

}  // namespace thermocline
