#include "predictor.h"

#include "set_active.h"

namespace thermocline::cuda {

THERMOCLINE_KERNEL void rectify_all(float* x, unsigned elements) {
  const unsigned i = element_index();
  if (i < elements) x[i] = rectified(x[i]);
}

void Predictor::run(Stream stream, const CardMatrix& fc1, const CardMatrix& fc2, float threshold, const float* x,
                    unsigned rows, uint64_t* active, uint32_t* count) const {
  const auto words = static_cast<unsigned>(active_words(fc2.count));
  for_many(rows, [&](unsigned first, unsigned tile) {
    const float* from = x + size_t{first} * fc1.cols;
    if (wants_blocks(fc1.type)) quantize(stream, from, tile, fc1.cols, false, quantized_);
    multiply(stream, fc1, {from, quantized_, fc1.cols}, 0, tile, hidden_, fc1.count);
    if (wants_blocks(fc2.type)) {
      quantize(stream, hidden_, tile, fc2.cols, true, quantized_);
    } else {
      launch(stream, rectify_all, by_element(tile * fc2.cols), hidden_, tile * fc2.cols);
    }
    multiply(stream, fc2, {hidden_, quantized_, fc2.cols}, 0, tile, logits_, fc2.count);
    Launch shape = by_element(words * kWarp);
    shape.grid.y = tile;
    launch(stream, set_active, shape, static_cast<const float*>(logits_), fc2.count, threshold,
           active + size_t{first} * words, words, count);
  });
}

}  // namespace thermocline::cuda
