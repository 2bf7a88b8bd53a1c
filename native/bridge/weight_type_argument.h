#pragma once

#include "../kernels/kernels.h"
#include "argument.h"

namespace thermocline::bridge {

// Throws `invalid-argument` for a name that is no weight type. The names' order is that of the enumeration.
inline WeightType read_weight_type(const Argument& type) {
  return static_cast<WeightType>(type.choice({"f32", "f16", "q8_0", "q4_0", "bf16", "q4_k", "q5_k", "q6_k"}));
}

}  // namespace thermocline::bridge
