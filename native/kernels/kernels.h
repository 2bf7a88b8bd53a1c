// Dot products and scaled sums over rows of every weight type, one table an instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thermocline {

enum class WeightType : uint8_t { f32, f16, q8_0, q4_0, bf16, q4_k, q5_k, q6_k };
inline constexpr int kWeightTypes = 8;

enum class InstructionSet : uint8_t { scalar, avx2 };
inline constexpr int kInstructionSets = 2;

// Elements in a block of GGUF's Q8_0 and Q4_0, and in a block of quantized activations.
inline constexpr size_t kBlock = 32;

// Elements in a block of the K-quants.
inline constexpr size_t kSuperBlock = 256;

// Elements that are stored together; a row is a whole number of such blocks.
size_t block_elements(WeightType type);

// Bytes of a row of `cols` elements as GGUF stores it: f32 4, f16 and bf16 2 an element; q8_0 34, q4_0 18 a block of 32
// (an f16 scale, then the quants; Q4_0's byte j holds elements j and j+16, each plus 8); q4_k 144, q5_k 176, q6_k 210 a
// block of 256.
size_t row_bytes(WeightType type, size_t cols);

// Whether rows of this type want their activations as Q8Activation blocks; else they want f32.
bool wants_quantized_activation(WeightType type);

// A block of activations whose max|x| is below this counts as zero: its scale would be subnormal.
inline constexpr float kLeastQuantized = 127 * 0x1p-126f;

// Activations quantized per 32: element i is scale * quants[i]. scale = max|x| / 127; quants, in [-127, 127], are
// rounded to nearest, ties to even. A block with an infinity or a NaN gets scale NaN and quants 0, so that nothing made
// of it passes for a number.
struct Q8Activation {
  float scale;
  int8_t quants[kBlock];
};

// All functions take any alignment and any `cols` >= 0 (a multiple of 32 for quantized types), and give the same
// bits for the same arguments. `weights` points to a row as row_bytes() describes it.
struct Kernels {
  InstructionSet instruction_set;
  // Sum of weights[i] * x[i]; x is const float* or const Q8Activation*, as wants_quantized_activation() says.
  float (*dot[kWeightTypes])(const void* weights, const void* x, size_t cols);
  // y[i] += scale * weights[i]
  void (*add_scaled[kWeightTypes])(float scale, const void* weights, float* y, size_t cols);
  // The same in sums of f64. What is added up is rounded to f32 first and does not depend on where a sum begins or
  // ends, so sums over the same weights that were divided or ordered in another way are the same once rounded to f32
  // (docs/decisions/same-tokens-everywhere.md). accumulate() adds the same numbers in every instruction set: a quant
  // times its block's f32(scale * block's scale).
  double (*wide_dot[kWeightTypes])(const void* weights, const void* x, size_t cols);
  void (*accumulate[kWeightTypes])(float scale, const void* weights, double* y, size_t cols);
  void (*quantize)(const float* x, Q8Activation* y, size_t cols);
  // IEEE half precision, rounded to nearest even.
  void (*to_f16)(const float* x, uint16_t* y, size_t cols);
};

// The kernels of an instruction set, or nullptr if this CPU (or this build) cannot run them.
const Kernels* kernels_for(InstructionSet set);

// The fastest kernels that this CPU can run.
const Kernels& best_kernels();

const char* name_of(InstructionSet set);
const char* name_of(WeightType type);

}  // namespace thermocline
