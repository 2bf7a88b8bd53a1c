#include "../train/layer_training.h"

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "../error.h"
#include "../train/linear_algebra.h"
#include "check.h"
#include "training_problem.h"

namespace thermocline {
namespace {

constexpr size_t kEmbd = 64, kFf = 96, kGateRank = 7;
constexpr uint32_t kRank = 32;

class Files {
 public:
  Files() : folder_(std::filesystem::temp_directory_path() / ("layer_training_test." + std::to_string(getpid()))) {
    std::filesystem::create_directory(folder_);
  }
  ~Files() { std::filesystem::remove_all(folder_); }

  std::string write(const char* name, const ActivationRows& rows) const {
    std::ofstream file(folder_ / name, std::ios::binary);
    for (size_t row = 0; row < rows.count; ++row) {
      file.write(reinterpret_cast<const char*>(rows.input(row)), static_cast<std::streamsize>(rows.embd * 4));
      file.write(reinterpret_cast<const char*>(rows.fired_set(row)), static_cast<std::streamsize>(rows.words() * 8));
    }
    return folder_ / name;
  }

 private:
  std::filesystem::path folder_;
};

LayerTraining layer_of(const Files& files, const test::Problem& problem) {
  return LayerTraining(2, kEmbd, kFf, 96,
                       {files.write("training", problem.training), files.write("calibration", problem.calibration),
                        files.write("test", problem.test)},
                       problem.gate);
}

FittedPredictor fit(LayerTraining& layer, PredictorKind kind, WeightType type) {
  return layer.fit({kind, kRank, type, 0.95, 6, 1, ""}, [](const TrainingProgress&) {}, std::atomic<bool>{false});
}

TEST(gates_of_low_rank_are_found_by_every_kind) {
  const Files files;
  const auto problem = test::low_rank_problem(kEmbd, kFf, kGateRank, 800, 6);
  LayerTraining layer = layer_of(files, problem);
  for (const PredictorKind kind : {PredictorKind::paired, PredictorKind::shifted, PredictorKind::trained}) {
    for (const WeightType type : {WeightType::f16, WeightType::q8_0}) {
      const FittedPredictor fitted = fit(layer, kind, type);
      CHECK_EQ(fitted.fc1.size(), kRank * row_bytes(type, kEmbd));
      CHECK_EQ(fitted.fc2.size(), kFf * row_bytes(type, kRank));
      CHECK(fitted.calibration.recall() >= 0.95);
      CHECK(fitted.test.recall() >= 0.93);
      CHECK(fitted.test.precision() >= 0.85);
      CHECK_EQ(fitted.test.rows, problem.test.count);
    }
  }
}

TEST(figures_are_those_of_the_stored_predictor) {
  const Files files;
  const auto problem = test::low_rank_problem(kEmbd, kFf, kGateRank, 200, 7);
  LayerTraining layer = layer_of(files, problem);
  const FittedPredictor fitted = fit(layer, PredictorKind::shifted, WeightType::f32);
  const auto* fc1 = reinterpret_cast<const float*>(fitted.fc1.data());
  const auto* fc2 = reinterpret_cast<const float*>(fitted.fc2.data());
  uint64_t predicted = 0, found = 0;
  for (size_t row = 0; row < problem.test.count; ++row) {
    for (size_t n = 0; n < kFf; ++n) {
      double logit = 0;
      for (size_t k = 0; k < kRank; ++k) {
        double hidden = 0;
        for (size_t i = 0; i < kEmbd; ++i) hidden += double{fc1[k * kEmbd + i]} * problem.test.input(row)[i];
        logit += fc2[n * kRank + k] * std::max(hidden, 0.0);
      }
      predicted += logit >= 0;
      found += logit >= 0 && problem.test.fires(row, n);
    }
  }
  // But for logits that are 0 to f32's precision.
  CHECK(std::fabs(static_cast<double>(fitted.test.predicted) - static_cast<double>(predicted)) <= 3);
  CHECK(std::fabs(static_cast<double>(fitted.test.found) - static_cast<double>(found)) <= 3);
}

TEST(a_predictor_does_not_depend_on_those_before_it) {
  const Files files;
  const auto problem = test::low_rank_problem(kEmbd, kFf, kGateRank, 200, 10);
  LayerTraining first = layer_of(files, problem), second = layer_of(files, problem);
  fit(first, PredictorKind::paired, WeightType::q8_0);
  CHECK(fit(first, PredictorKind::trained, WeightType::q8_0).fc2 ==
        fit(second, PredictorKind::trained, WeightType::q8_0).fc2);
}

TEST(a_higher_recall_takes_more_neurons) {
  const Files files;
  auto problem = test::low_rank_problem(kEmbd, kFf, 40, 400, 8);
  LayerTraining layer = layer_of(files, problem);
  uint64_t before = 0;
  for (const double recall : {0.8, 0.9, 0.99}) {
    const FittedPredictor fitted = layer.fit({PredictorKind::shifted, kRank, WeightType::q8_0, recall, 1, 1, ""},
                                             [](const TrainingProgress&) {}, std::atomic<bool>{false});
    CHECK(fitted.calibration.recall() >= recall);
    CHECK(fitted.calibration.predicted > before);
    before = fitted.calibration.predicted;
  }
}

TEST(what_cannot_be_fitted_is_refused) {
  const Files files;
  const auto problem = test::low_rank_problem(kEmbd, kFf, kGateRank, 40, 9);
  LayerTraining layer = layer_of(files, problem);
  const auto with = [&](PredictorKind kind, uint32_t rank, WeightType type, bool cancelled) {
    return layer.fit({kind, rank, type, 0.95, 1, 1, ""}, [](const TrainingProgress&) {}, std::atomic<bool>{cancelled});
  };
  CHECK_THROWS(with(PredictorKind::shifted, 96, WeightType::q8_0, false), ErrorCode::invalid_argument);
  CHECK_THROWS(with(PredictorKind::paired, 0, WeightType::q8_0, false), ErrorCode::invalid_argument);
  CHECK_THROWS(with(PredictorKind::shifted, 20, WeightType::q8_0, false), ErrorCode::unsupported);
  CHECK_THROWS(with(PredictorKind::trained, 48, WeightType::q8_0, false), ErrorCode::unsupported);
  CHECK_THROWS(with(PredictorKind::trained, 32, WeightType::q8_0, true), ErrorCode::cancelled);
  CHECK_THROWS(LayerTraining(1, kEmbd, kFf, 96, {"/nonexistent/rows", "", ""}, problem.gate), ErrorCode::not_found);
  const std::string broken = files.write("broken", problem.test);
  std::filesystem::resize_file(broken, 1000);
  CHECK_THROWS(LayerTraining(1, kEmbd, kFf, 96, {broken, broken, broken}, problem.gate), ErrorCode::corrupt);
  std::filesystem::resize_file(broken, 0);
  CHECK_THROWS(LayerTraining(1, kEmbd, kFf, 96, {broken, broken, broken}, problem.gate), ErrorCode::invalid_argument);
}

TEST(decompositions_skip_what_depends_on_the_rest) {
  // Column 2 is the sum of the others.
  const std::vector<double> a{4, 2, 6, 2, 5, 7, 6, 7, 13};
  const std::vector<double> upper = cholesky(a, 3, 1e-9);
  CHECK_EQ(upper[8], 0.0);
  const std::vector<double> inverse = invert_upper(upper, 3);
  CHECK(std::fabs(inverse[0] * upper[0] - 1) < 1e-12);
  CHECK(std::fabs(upper[0] * inverse[1] + upper[1] * inverse[4]) < 1e-12);
  const std::vector<double> x = solve_ridge({4, 2, 2, 5}, 2, 0, {8, 12});
  CHECK(std::fabs(x[0] - 1) < 1e-12 && std::fabs(x[1] - 2) < 1e-12);
}

}  // namespace
}  // namespace thermocline
