// A predictor as a file stores it.
#pragma once

#include <cstdint>
#include <vector>

#include "network.h"

namespace thermocline {

struct StoredNetwork {
  std::vector<uint8_t> fc1, fc2;  // rows of the type, as a GGUF file holds them
  Network network;                // the weights those stand for
};

// Throws Error `unsupported` when embd or rank is no whole number of the type's blocks.
void check_storable(size_t embd, size_t rank, WeightType type);

// Throws Error as check_storable() does; `invalid_argument` for a weight beyond the type's reach or one that is no finite
// number.
StoredNetwork store_network(const Network& network, WeightType type);

// Rounds rows as engines round the activations of such weights; leaves them as they are for float types. `cols` is a
// whole number of the type's blocks.
void round_activations(WeightType type, float* rows, size_t count, size_t cols);

}  // namespace thermocline
