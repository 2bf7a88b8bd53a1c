#include "initial_network.h"

#include <cmath>

namespace thermocline {
namespace {

// A normal variable is below -2.5 deviations in 0.6 % of cases, and what a shift adds must not drown what it carries
// in the rounding of stored weights.
constexpr float kShift = 2.5f;
// The logistic function of 1.702 x is nowhere further than 0.01 from the normal distribution's.
constexpr float kLogisticScale = 1.702f;
// Steeper logits would only saturate.
constexpr float kLeastError = 0.05f;

}  // namespace

Network initial_network(const Gate& gate, const InputMoments& moments, const GateComponents& components, Form form,
                        size_t rank) {
  const size_t embd = moments.unit.size(), ff = gate.weights.size() / embd;
  const size_t directions = directions_of(form, rank);
  Network network = make_network(embd, ff, rank);
  if (form == Form::shifted) std::copy_n(moments.unit.data(), embd, network.fc1.data());
  for (size_t k = 0; k < directions; ++k) {
    const float deviation = components.deviations[k];
    if (deviation == 0) continue;
    const float* direction = components.directions.data() + k * embd;
    float* first = network.fc1.data() + (form == Form::paired ? 2 * k : k + 1) * embd;
    for (size_t i = 0; i < embd; ++i) {
      const float value = direction[i] / deviation;
      if (form == Form::paired) {
        first[i] = value;
        first[embd + i] = -value;
      } else {
        first[i] = value + kShift * moments.unit[i];
      }
    }
  }
  for (size_t n = 0; n < ff; ++n) {
    float* row = network.fc2.data() + n * rank;
    for (size_t k = 0; k < directions; ++k) {
      const float weight = components.weights[n * components.count + k] * components.deviations[k];
      if (form == Form::paired) {
        row[2 * k] = weight;
        row[2 * k + 1] = -weight;
      } else {
        row[k + 1] = weight;
        row[0] -= kShift * weight;
      }
    }
    if (form == Form::shifted) row[0] -= gate.threshold;
  }
  return network;
}

Deviations measure_deviations(Gemm& gemm, const Gate& gate, const Network& network, const float* x, size_t rows) {
  const size_t ff = network.ff;
  std::vector<float> hidden(rows * network.rank), logits(rows * ff), gates(rows * ff);
  compute_hidden(gemm, network, x, rows, hidden.data());
  compute_logits(gemm, network, hidden.data(), rows, logits.data());
  gemm.multiply({rows, ff, network.embd}, by_rows(x, network.embd), transposed(gate.weights.data(), network.embd),
                gates.data());
  std::vector<double> errors(ff), squares(ff);
  for (size_t i = 0; i < rows * ff; ++i) {
    const double wanted = double{gates[i]} - gate.threshold;
    errors[i % ff] += (wanted - logits[i]) * (wanted - logits[i]);
    squares[i % ff] += wanted * wanted;
  }
  Deviations deviations{std::vector<float>(ff), std::vector<float>(ff)};
  for (size_t n = 0; n < ff; ++n) {
    deviations.errors[n] = static_cast<float>(std::sqrt(errors[n] / static_cast<double>(rows)));
    deviations.gates[n] = static_cast<float>(std::sqrt(squares[n] / static_cast<double>(rows)));
  }
  return deviations;
}

void to_logits(Network& network, const Deviations& deviations) {
  for (size_t n = 0; n < network.ff; ++n) {
    const float error = std::max(deviations.errors[n], kLeastError * deviations.gates[n]);
    const float scale = error > 0 ? kLogisticScale / error : 0;
    for (size_t k = 0; k < network.rank; ++k) network.fc2[n * network.rank + k] *= scale;
  }
}

}  // namespace thermocline
