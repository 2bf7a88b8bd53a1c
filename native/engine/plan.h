// What one executor is told to hold and compute; the same names as EnginePlan in native/index.ts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../kernels/kernels.h"
#include "schedule.h"

namespace thermocline {

enum class Activation : uint8_t { relu, relu2, silu };
enum class Norm : uint8_t { rms, layer };
// Which of a head's rotated dimensions turn together: 2i and 2i + 1, or i and i + rope_dims / 2.
enum class RopePairs : uint8_t { adjacent, halves };

struct TensorRef {
  std::string name;  // GGUF name
  WeightType type;
  uint64_t offset;   // from the start of the file, in bytes
  uint32_t rows;
  uint32_t cols;     // elements a row

  uint64_t bytes() const { return rows * row_bytes(type, cols); }
};

struct ModelShape {
  uint32_t layers, embd, heads, kv_heads, head_dim, ff, vocab;
  Norm norm;
  float norm_epsilon, rope_base, rope_scale;
  uint32_t rope_dims;
  RopePairs rope_pairs;
  Activation activation;
  float relu_threshold;  // gates below it count as 0 (FATReLU); 0 is plain ReLU, and all that SiLU allows
  float predictor_threshold;
};

struct EnginePlan {
  std::string model_path;
  uint64_t model_bytes;
  ModelShape shape;
  std::vector<TensorRef> tensors;
  Schedule schedule;
  uint32_t executor;
  uint32_t slots, context_length, max_rows;
};

enum class Residency : uint8_t { mapped, resident };

struct EngineOptions {
  Residency residency;
  uint64_t budget_bytes;  // 0: no limit
  uint32_t threads;
  std::vector<int> pin_to;
  const Kernels* kernels;
  std::string library = {};  // path of a device in a library of its own (device_library.h); empty: this CPU's cores
};

struct MemoryNeeds {
  uint64_t weight_bytes, kv_cache_bytes, scratch_bytes;
};

// Throws Error when a size is out of range or contradicts another one (invalid_argument), or when a tensor has no place
// in a llama model (unsupported). The error's argument is a path such as `schedule.layers[3].neuronOwner`.
void validate(const EnginePlan& plan);
void validate(const EngineOptions& options);

}  // namespace thermocline
