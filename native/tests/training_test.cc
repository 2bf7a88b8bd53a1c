#include "../train/training.h"

#include <cmath>
#include <filesystem>
#include <numeric>

#include "../error.h"
#include "check.h"
#include "training_problem.h"

namespace thermocline {
namespace {

constexpr size_t kEmbd = 12, kFf = 70, kRank = 6;
constexpr float kWeight = 2;

Network random_network(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  Network network = make_network(kEmbd, kFf, kRank);
  for (float& x : network.fc1) x = 0.3f * normal(random);
  for (float& x : network.fc2) x = 0.5f * normal(random);
  return network;
}

// A weight that is moved, in doubles: too little for a hidden unit to change its sign.
struct Move {
  std::vector<float> Network::* part;
  size_t index;
  double by;
};

double loss_of(const Network& network, const ActivationRows& rows, size_t count, const Move& move = {}) {
  const auto weight = [&](std::vector<float> Network::* part, size_t i) {
    return (network.*part)[i] + (part == move.part && i == move.index ? move.by : 0.0);
  };
  double sum = 0;
  for (size_t row = 0; row < count; ++row) {
    std::vector<double> hidden(kRank);
    for (size_t k = 0; k < kRank; ++k) {
      for (size_t i = 0; i < kEmbd; ++i) hidden[k] += weight(&Network::fc1, k * kEmbd + i) * rows.input(row)[i];
      hidden[k] = std::max(hidden[k], 0.0);
    }
    for (size_t n = 0; n < kFf; ++n) {
      double z = 0;
      for (size_t k = 0; k < kRank; ++k) z += weight(&Network::fc2, n * kRank + k) * hidden[k];
      const double loss = std::max(z, 0.0) + std::log1p(std::exp(-std::fabs(z))) - (rows.fires(row, n) ? z : 0);
      sum += (rows.fires(row, n) ? kWeight : 1) * loss;
    }
  }
  return sum / static_cast<double>(count * kFf);
}

TEST(the_gradient_is_that_of_finite_differences) {
  const auto problem = test::low_rank_problem(kEmbd, kFf, 3, 40, 1);
  ThreadPool pool(2, {});
  Gemm gemm(pool, train_kernels_for(best_kernels().instruction_set));
  const Network network = random_network(2);
  Training training(gemm, network, {1, 0, kWeight, ""});
  std::vector<uint32_t> numbers(40);
  std::iota(numbers.begin(), numbers.end(), 0u);
  const double loss = training.differentiate(problem.training, numbers.data(), numbers.size());
  CHECK(std::fabs(loss - loss_of(network, problem.training, 40)) < 1e-5);
  const auto check = [&](std::vector<float> Network::* part) {
    for (size_t i = 0; i < (network.*part).size(); i += 5) {
      constexpr double kStep = 1e-6;
      const double above = loss_of(network, problem.training, 40, {part, i, kStep});
      const double below = loss_of(network, problem.training, 40, {part, i, -kStep});
      const double slope = kFf * (above - below) / (2 * kStep);
      CHECK(std::fabs((training.gradient().*part)[i] - slope) < 1e-5);
    }
  };
  check(&Network::fc1);
  check(&Network::fc2);
}

Network trained(uint32_t threads, const ActivationRows& rows, const std::string& checkpoint, uint32_t stop_in_epoch,
                uint32_t epochs = 4) {
  ThreadPool pool(threads, {});
  Gemm gemm(pool, train_kernels_for(best_kernels().instruction_set));
  Training training(gemm, random_network(3), {epochs, 9, kWeight, checkpoint});
  std::atomic<bool> cancel{false};
  try {
    training.run(rows, [&](const TrainingProgress& now) { cancel = now.epoch == stop_in_epoch; }, cancel);
  } catch (const Error& error) {
    CHECK_EQ(error.code(), ErrorCode::cancelled);
    CHECK(stop_in_epoch > 0);
  }
  return training.network();
}

TEST(threads_and_interruptions_leave_the_same_bits) {
  const auto problem = test::low_rank_problem(kEmbd, kFf, 3, 600, 4);
  const Network expected = trained(1, problem.training, "", 0);
  CHECK(trained(3, problem.training, "", 0).fc2 == expected.fc2);
  const std::string file = std::filesystem::temp_directory_path() / ("training_test." + std::to_string(getpid()));
  trained(2, problem.training, file, 3);
  CHECK(std::filesystem::exists(file));
  int epochs = 0;
  {
    ThreadPool pool(1, {});
    Gemm gemm(pool, train_kernels_for(best_kernels().instruction_set));
    Training training(gemm, random_network(3), {4, 9, kWeight, file});
    uint32_t last = 0;
    training.run(problem.training, [&](const TrainingProgress& now) { epochs += std::exchange(last, now.epoch) != now.epoch; },
                 std::atomic<bool>{false});
    CHECK(training.network().fc1 == expected.fc1);
    CHECK(training.network().fc2 == expected.fc2);
  }
  CHECK_EQ(epochs, 2);
  // One that began elsewhere does not go on from it.
  CheckpointState state{};
  std::vector<float> part(3);
  CHECK(!read_checkpoint(file, {1, 2, 3, 4, 5, 6, 7, 8}, state, {part}));
  std::filesystem::remove(file);
}

TEST(the_loss_falls) {
  const auto problem = test::low_rank_problem(kEmbd, kFf, 3, 600, 5);
  const double before = loss_of(random_network(3), problem.training, 600);
  const double after = loss_of(trained(2, problem.training, "", 0, 100), problem.training, 600);
  if (after >= before / 2) test::fail(__FILE__, __LINE__, "the loss went from ", before, " to ", after);
}

}  // namespace
}  // namespace thermocline
