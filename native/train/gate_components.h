// The gates of a layer in the few directions in which they vary most.
#pragma once

#include <atomic>
#include <vector>

#include "activation_rows.h"
#include "gemm.h"

namespace thermocline {

// What an FFN gate is made of: gate[n] >= threshold * (the input's root mean square), so that it can fire.
struct Gate {
  std::vector<float> weights;  // [ff][embd], each column times the norm's weight
  float threshold;
};

// The inputs' second moments over rows that stand for all, and the direction that tells their length.
struct InputMoments {
  std::vector<float> second;  // [embd][embd], symmetric
  std::vector<float> unit;    // [embd]: unit · x is as near to 1 as it can be for inputs x of mean square 1
};
InputMoments input_moments(Gemm& gemm, const ActivationRows& rows);

// gate · x is about weights · (directions · x), in the subspace of `count` dimensions that loses the least square over
// the observed inputs; the first k of them are, nearly, the best k. Directions that vary not at all are 0.
struct GateComponents {
  size_t count;
  std::vector<float> directions;  // [count][embd]
  std::vector<float> weights;     // [ff][count], orthonormal columns
  std::vector<float> deviations;  // [count] root mean squares of directions · x
};

// Simultaneous iteration with the gates' second moments, gate · moments · gateᵀ, whose leading eigenvectors are the
// directions sought (principal components). Throws Error `cancelled`.
GateComponents gate_components(Gemm& gemm, const Gate& gate, size_t embd, const InputMoments& moments, size_t count,
                               uint64_t seed, const std::atomic<bool>& cancel);

}  // namespace thermocline
