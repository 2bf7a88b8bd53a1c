#include "rope_and_store.h"

namespace thermocline {

void rope_and_store(const Compute& compute, const ModelShape& shape, const Rope& rope, const KvCache& cache,
                    size_t layer, const Step& step, float* q, float* k, const float* v) {
  const size_t dim = shape.head_dim;
  compute.pool.parallel_for(step.rows, [&](size_t begin, size_t end, uint32_t) {
    for (size_t r = begin; r < end; ++r) {
      const size_t slot = static_cast<size_t>(step.row[r].slot);
      const size_t at = static_cast<size_t>(step.row[r].position) * dim;
      for (size_t h = 0; h < shape.heads; ++h) rope.rotate(r, q + (r * shape.heads + h) * dim);
      for (size_t h = 0; h < shape.kv_heads; ++h) {
        const size_t head = (r * shape.kv_heads + h) * dim;
        rope.rotate(r, k + head);
        compute.kernels.to_f16(k + head, cache.keys(slot, layer, h) + at, dim);
        compute.kernels.to_f16(v + head, cache.values(slot, layer, h) + at, dim);
      }
    }
  });
}

}  // namespace thermocline
