#include "layer_training.h"

#include <algorithm>
#include <utility>

#include "../error.h"

namespace thermocline {
namespace {

// Rows over which deviations and unit weights are means.
constexpr size_t kSampleRows = 2048;
// A pair that fires and is missed costs accuracy, one that is taken for active in vain costs a row of the gate. With
// this weight logits of 0 find about 95 % of what fires; the margin does the rest.
constexpr float kPositiveWeight = 4;

ActivationRows read_rows(const std::string& path, size_t embd, size_t ff) {
  ActivationRows rows = read_activation_rows(path, embd, ff);
  if (rows.count == 0) throw Error(ErrorCode::invalid_argument, path + " has no rows: collect more activations");
  return rows;
}

}  // namespace

LayerTraining::LayerTraining(uint32_t threads, size_t embd, size_t ff, uint32_t most_rank,
                             const LayerActivationFiles& files, Gate gate)
    : pool_(threads, {}),
      gemm_(pool_, train_kernels_for(best_kernels().instruction_set)),
      gate_(std::move(gate)),
      training_(read_rows(files.training, embd, ff)),
      calibration_(read_rows(files.calibration, embd, ff)),
      test_(read_rows(files.test, embd, ff)),
      sample_(sample_inputs(training_, kSampleRows)),
      moments_(input_moments(gemm_, training_)),
      directions_(std::min({size_t{most_rank}, embd, ff})) {}

FittedPredictor LayerTraining::fit(const FitOptions& options,
                                   const std::function<void(const TrainingProgress&)>& progress,
                                   const std::atomic<bool>& cancel) {
  if (options.rank < 2) throw Error(ErrorCode::invalid_argument, "rank must be at least 2", "options.rank");
  // Before anything is rounded in blocks, or trained in vain.
  check_storable(training_.embd, options.rank, options.type);
  if (options.kind == PredictorKind::paired) return finish(begin(Form::paired, options, cancel), true, options);
  if (options.kind == PredictorKind::shifted) return finish(begin(Form::shifted, options, cancel), true, options);
  const bool wide = directions_of(Form::shifted, options.rank) > directions_;
  Network network = begin(wide ? Form::paired : Form::shifted, options, cancel);
  to_logits(network, measure_deviations(gemm_, gate_, network, sample_.inputs.data(), sample_.count));
  Training training(gemm_, std::move(network),
                    {options.epochs, options.seed, kPositiveWeight, options.checkpoint});
  double loss = 0;
  uint64_t batches = 0;
  uint32_t epoch = 0;
  training.run(
      training_,
      [&](const TrainingProgress& now) {
        if (std::exchange(epoch, now.epoch) != now.epoch) loss = 0, batches = 0;
        loss += now.loss;
        ++batches;
        progress({now.epoch, now.epochs, now.done, loss / static_cast<double>(batches)});
      },
      cancel);
  FittedPredictor fitted = finish(training.network(), false, options);
  fitted.loss = batches > 0 ? loss / static_cast<double>(batches) : 0;
  return fitted;
}

const GateComponents& LayerTraining::components(uint64_t seed, const std::atomic<bool>& cancel) {
  if (!components_ || components_seed_ != seed) {
    components_ = gate_components(gemm_, gate_, training_.embd, moments_, directions_, seed, cancel);
    components_seed_ = seed;
  }
  return *components_;
}

Network LayerTraining::begin(Form form, const FitOptions& options, const std::atomic<bool>& cancel) {
  if (directions_of(form, options.rank) > directions_) {
    throw Error(ErrorCode::invalid_argument,
                "rank is " + std::to_string(options.rank) + ", and there are " + std::to_string(directions_) +
                    " directions: the least of the largest rank, the width and the neurons",
                "options.rank");
  }
  return initial_network(gate_, moments_, components(options.seed, cancel), form, options.rank);
}

FittedPredictor LayerTraining::finish(const Network& network, bool by_neuron, const FitOptions& options) {
  std::vector<float> scales(network.ff, 1.0f);
  if (by_neuron) {
    // Of the stored network, whose rounding is part of the error.
    const StoredNetwork stored = store_network(network, options.type);
    scales = measure_deviations(gemm_, gate_, stored.network, sample_.inputs.data(), sample_.count).errors;
  }
  const std::vector<float> unit = unit_weights(gemm_, network, sample_.inputs.data(), sample_.count);
  OperatingPoint point = fold_margin(gemm_, network, unit, scales, options.type, calibration_, options.recall);
  const Confusion test = evaluate(gemm_, point.stored.network, test_, options.type);
  return {std::move(point.stored.fc1), std::move(point.stored.fc2), point.calibration, test, 0};
}

}  // namespace thermocline
