#include "gate_and_up.h"

#include <algorithm>
#include <cmath>

namespace thermocline {

// g > 0 (or a NaN) under the ReLUs.
float GateAndUp::hidden(float g, float u) const {
  switch (activation_) {
    case Activation::relu: return g * u;
    case Activation::relu2: return g * std::max(u, 0.0f);
    case Activation::silu: return g / (1.0f + std::exp(-g)) * u;
  }
  return g * u;
}

}  // namespace thermocline
