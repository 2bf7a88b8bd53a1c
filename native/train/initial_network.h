// Predictors made of a layer's gate matrix, without training: what training begins with, or may be compared with.
#pragma once

#include "gate_components.h"
#include "network.h"

namespace thermocline {

// How a direction passes the ReLU. `paired`: ReLU(v) - ReLU(-v) = v, two units a direction, exact. `shifted`: one unit a
// direction, raised by so many deviations that it is seldom below 0, and one unit for what raises it.
enum class Form { paired, shifted };

inline size_t directions_of(Form form, size_t rank) { return form == Form::paired ? rank / 2 : rank - 1; }

// Logits are approximate gates less the threshold. `components` has at least directions_of(form, rank) of them.
Network initial_network(const Gate& gate, const InputMoments& moments, const GateComponents& components, Form form,
                        size_t rank);

// Root mean squares over the rows, one a neuron, of what the network's logits lack of gate - threshold; `gates` those
// of gate - threshold itself. x [rows][embd], of mean square 1.
struct Deviations {
  std::vector<float> errors, gates;
};
Deviations measure_deviations(Gemm& gemm, const Gate& gate, const Network& network, const float* x, size_t rows);

// Turns approximate gates into logits: each neuron's row is divided by its error, so that the logistic function of the
// result is near the probability that the neuron fires.
void to_logits(Network& network, const Deviations& deviations);

}  // namespace thermocline
