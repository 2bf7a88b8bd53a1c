#include "predictor.h"

#include <algorithm>
#include <bit>

#include "multiply.h"

namespace thermocline {

Predictor::Predictor(const EnginePlan& plan, const ModelTensors& tensors, size_t rows, MemoryLayout& scratch)
    : embd_(plan.shape.embd), ff_(plan.shape.ff), threshold_(plan.shape.predictor_threshold) {
  uint64_t rank = 0;
  for (const LayerTensors& layer : tensors.layers) {
    if (layer.fc1 != nullptr) rank = std::max<uint64_t>(rank, layer.fc1->rows);
  }
  const uint64_t widest = rank > 0 ? std::max<uint64_t>(embd_, rank) : 0;
  hidden_ = scratch.take<float>(checked_product({rows, rank}));
  quantized_ = scratch.take<Q8Activation>(checked_product({rows, widest / kBlock}));
}

uint32_t Predictor::run(const Compute& compute, const LayerWeights& weights, const float* x, size_t rows,
                        uint64_t* active) {
  const Matrix& fc1 = weights.fc1;
  const Matrix& fc2 = weights.fc2;
  multiply(compute, {{fc1, hidden_}}, prepare(compute, x, rows, embd_, {fc1.type}, quantized_), rows);
  for (size_t i = 0; i < rows * fc1.rows; ++i) hidden_[i] = std::max(hidden_[i], 0.0f);
  const Inputs hidden = prepare(compute, hidden_, rows, fc1.rows, {fc2.type}, quantized_);

  const size_t words = active_words(ff_);
  const auto dot = compute.kernels.dot[static_cast<size_t>(fc2.type)];
  compute.pool.parallel_for(words, [&](size_t begin, size_t end, uint32_t) {
    for (size_t tile = 0; tile < rows; tile += kRowTile) {
      const size_t tile_end = std::min(rows, tile + kRowTile);
      for (size_t w = begin; w < end; ++w) {
        uint64_t bits[kRowTile] = {};
        for (size_t n = w * kActiveWordBits; n < std::min(ff_, (w + 1) * kActiveWordBits); ++n) {
          for (size_t r = tile; r < tile_end; ++r) {
            const bool reached = dot(fc2.row(n), hidden.row(fc2.type, r), hidden.cols) >= threshold_;
            bits[r - tile] |= uint64_t{reached} << (n % kActiveWordBits);
          }
        }
        for (size_t r = tile; r < tile_end; ++r) active[r * words + w] = bits[r - tile];
      }
    }
  });
  uint32_t count = 0;
  for (size_t i = 0; i < rows * words; ++i) count += static_cast<uint32_t>(std::popcount(active[i]));
  return count;
}

}  // namespace thermocline
