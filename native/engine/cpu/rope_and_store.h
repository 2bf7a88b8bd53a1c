// What attention does with a step's queries, keys and values before it looks at any.
#pragma once

#include "../kv_cache.h"
#include "../rope.h"
#include "matrix.h"

namespace thermocline {

// Rotates q [step.rows][heads][head_dim] and k [step.rows][kv_heads][head_dim] by the step's angles, and puts k and v
// into the cache. `layer` counts within the cache.
void rope_and_store(const Compute& compute, const ModelShape& shape, const Rope& rope, const KvCache& cache,
                    size_t layer, const Step& step, float* q, float* k, const float* v);

}  // namespace thermocline
