#include "network.h"

#include "linear_algebra.h"

namespace thermocline {
namespace {

constexpr double kRidge = 1e-4;

}  // namespace

void compute_hidden(Gemm& gemm, const Network& network, const float* x, size_t rows, float* hidden) {
  gemm.multiply({rows, network.rank, network.embd}, by_rows(x, network.embd),
                transposed(network.fc1.data(), network.embd), hidden);
  for (size_t i = 0; i < rows * network.rank; ++i) hidden[i] = std::max(hidden[i], 0.0f);
}

void compute_logits(Gemm& gemm, const Network& network, const float* hidden, size_t rows, float* logits) {
  gemm.multiply({rows, network.ff, network.rank}, by_rows(hidden, network.rank),
                transposed(network.fc2.data(), network.rank), logits);
}

std::vector<float> unit_weights(Gemm& gemm, const Network& network, const float* x, size_t rows) {
  const size_t rank = network.rank;
  std::vector<float> hidden(rows * rank), gram(rank * rank);
  compute_hidden(gemm, network, x, rows, hidden.data());
  gemm.multiply({rank, rank, rows}, transposed(hidden.data(), rank), by_rows(hidden.data(), rank), gram.data());
  std::vector<double> sums(rank);
  for (size_t i = 0; i < hidden.size(); ++i) sums[i % rank] += double{hidden[i]};
  const std::vector<double> weights = solve_ridge({gram.begin(), gram.end()}, rank, kRidge, sums);
  return {weights.begin(), weights.end()};
}

}  // namespace thermocline
