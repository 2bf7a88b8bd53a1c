#include "stored_network.h"

#include <cmath>

#include "../error.h"
#include "../formats/formats.h"

namespace thermocline {
namespace {

std::vector<uint8_t> store(const std::vector<float>& weights, size_t cols, WeightType type, std::vector<float>& back) {
  const size_t bytes = row_bytes(type, cols);
  std::vector<uint8_t> stored(weights.size() / cols * bytes);
  back.resize(weights.size());
  const float most = reach(type);
  for (const float weight : weights) {
    if (!(std::fabs(weight) <= most)) {
      throw Error(ErrorCode::invalid_argument, "a predictor's weight is " + std::to_string(weight) +
                                                   ", beyond what the type holds: choose type f32", "options.type");
    }
  }
  for (size_t row = 0; row < weights.size() / cols; ++row) {
    quantize_row(type, weights.data() + row * cols, stored.data() + row * bytes, cols);
    dequantize_row(type, stored.data() + row * bytes, back.data() + row * cols, cols);
  }
  return stored;
}

}  // namespace

void check_storable(size_t embd, size_t rank, WeightType type) {
  const size_t block = block_elements(type);
  if (embd % block == 0 && rank % block == 0) return;
  throw Error(ErrorCode::unsupported,
              "a predictor of width " + std::to_string(embd) + " and rank " + std::to_string(rank) +
                  " has no whole blocks of " + std::to_string(block) + ": choose type f16",
              "options.type");
}

StoredNetwork store_network(const Network& network, WeightType type) {
  check_storable(network.embd, network.rank, type);
  StoredNetwork stored{{}, {}, {network.embd, network.ff, network.rank, {}, {}}};
  stored.fc1 = store(network.fc1, network.embd, type, stored.network.fc1);
  stored.fc2 = store(network.fc2, network.rank, type, stored.network.fc2);
  return stored;
}

void round_activations(WeightType type, float* rows, size_t count, size_t cols) {
  if (!wants_quantized_activation(type)) return;
  const Kernels& kernels = best_kernels();
  std::vector<Q8Activation> blocks(cols / kBlock);
  for (size_t row = 0; row < count; ++row) {
    float* values = rows + row * cols;
    kernels.quantize(values, blocks.data(), cols);
    for (size_t i = 0; i < cols; ++i) {
      values[i] = blocks[i / kBlock].scale * static_cast<float>(blocks[i / kBlock].quants[i % kBlock]);
    }
  }
}

}  // namespace thermocline
