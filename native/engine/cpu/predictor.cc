#include "predictor.h"

#include <algorithm>
#include <bit>

#include "multiply.h"

namespace thermocline {
namespace {

// 256 neurons of rank 1024 in Q4_0 are 147 KB, some 5 us of reading.
constexpr size_t kWordsAtATime = 4;

}  // namespace

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
  compute.pool.parallel_chunks(words, kWordsAtATime, [&](size_t begin, size_t end, uint32_t) {
    float logits[kRowTile * kActiveWordBits];
    for (size_t w = begin; w < end; ++w) {
      const size_t first = w * kActiveWordBits;
      const size_t neurons = std::min(ff_ - first, kActiveWordBits);
      for (size_t tile = 0; tile < rows; tile += kRowTile) {
        const size_t tile_rows = std::min(kRowTile, rows - tile);
        multiply_part(compute.kernels, fc2, first, neurons, hidden.rows(fc2.type, tile, tile_rows), logits,
                      kActiveWordBits);
        for (size_t r = 0; r < tile_rows; ++r) {
          uint64_t bits = 0;
          for (size_t n = 0; n < neurons; ++n) {
            bits |= uint64_t{logits[r * kActiveWordBits + n] >= threshold_} << n;
          }
          active[(tile + r) * words + w] = bits;
        }
      }
    }
  });
  uint32_t count = 0;
  for (size_t i = 0; i < rows * words; ++i) count += static_cast<uint32_t>(std::popcount(active[i]));
  return count;
}

}  // namespace thermocline
