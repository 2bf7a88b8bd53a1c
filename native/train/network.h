// A predictor: logits = fc2 · ReLU(fc1 · x); a neuron counts as active where its logit is at least 0.
#pragma once

#include <vector>

#include "gemm.h"

namespace thermocline {

struct Network {
  size_t embd, ff, rank;
  std::vector<float> fc1;  // [rank][embd]
  std::vector<float> fc2;  // [ff][rank]
};

inline Network make_network(size_t embd, size_t ff, size_t rank) {
  return {embd, ff, rank, std::vector<float>(rank * embd), std::vector<float>(ff * rank)};
}

// hidden [rows][rank] = ReLU(fc1 · x), x [rows][embd].
void compute_hidden(Gemm& gemm, const Network& network, const float* x, size_t rows, float* hidden);

// logits [rows][ff] = fc2 · hidden.
void compute_logits(Gemm& gemm, const Network& network, const float* hidden, size_t rows, float* logits);

// Per row the combination of hidden units that is as near to 1 as it can be for inputs of mean square 1. Predictors
// have no bias: adding `margin` times these weights to a neuron's row of fc2 raises its logit by about `margin` times
// the input's root mean square, which is what a bias would have to be for the sign not to depend on that.
std::vector<float> unit_weights(Gemm& gemm, const Network& network, const float* x, size_t rows);

}  // namespace thermocline
