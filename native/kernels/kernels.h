// Products and sums over rows of every weight type, one table an instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

namespace thermocline {

enum class WeightType : uint8_t { f32, f16, q8_0, q4_0, bf16, q4_k, q5_k, q6_k };
inline constexpr int kWeightTypes = 8;

enum class InstructionSet : uint8_t { scalar, avx2, avx_vnni, avx512, avx512_vnni };
inline constexpr int kInstructionSets = 5;

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
// rounded to nearest, ties to even; sums are those of the first sixteen and of the last. A block with an infinity or a
// NaN gets scale NaN and quants 0, so that nothing made of it passes for a number.
struct Q8Activation {
  float scale;
  int16_t sums[2];
  int8_t quants[kBlock];
};

// `count` rows of activations, `stride` bytes apart: floats or Q8Activation blocks, as the weights want.
struct Activations {
  const void* data;
  size_t stride;
  size_t count;
};

// A panel holds 16 rows of weights, interleaved so that one load brings the same columns of all of them: of each block
// every f16, and every 4 bytes of what else there is, of row 0, of row 1, ... What lies n bytes into a row therefore
// begins 16 * n bytes into the panel, which takes as many bytes as the rows do.
inline constexpr size_t kPanelRows = 16;

// Whether multiply_panels() exists for this type.
bool has_panels(WeightType type);

// Interleaves `count` rows (at most 16; missing ones become zeros) into a panel of 16 * row_bytes(type, cols) bytes.
void pack_panel(WeightType type, const std::byte* const* rows, size_t count, size_t cols, std::byte* panel);

// Puts a row in the place of a panel's `index`-th; the others stay.
void pack_row(WeightType type, const std::byte* row, size_t index, size_t cols, std::byte* panel);

// `count` panels, `stride` bytes apart; a panel may be entered at any of its blocks.
struct Panels {
  const std::byte* data;
  size_t stride;
  size_t count;
};

// In which products with float weights are summed: lane i takes the columns i, i + 16, ...
inline constexpr size_t kFloatLanes = 16;

// All functions take weights, activations and results at any alignment and any `cols` (a multiple of block_elements()),
// and give the same bits for the same arguments, whatever else is computed in the same call. Rows point to weights as
// row_bytes() describes them.
//
// A product with quantized weights is the same in every instruction set and in panels: the sum, block after block, of
// f32(x's scale * f32(weights' scale * integer)), where the integer is exact; K-quants subtract
// f32(minimum's scale * integer) from the inner number. Float weights are summed in 16 lanes, with fused
// multiply-adds where the instruction set has them.
struct Kernels {
  InstructionSet instruction_set;
  // y[j * y_stride + i] = rows[i] · x[j]
  void (*multiply_rows[kWeightTypes])(const std::byte* const* rows, size_t count, const Activations& x, size_t cols,
                                      float* y, size_t y_stride);
  // y[j * y_stride + 16 * p + i] = row i of panel p · x[j]; null where !has_panels()
  void (*multiply_panels[kWeightTypes])(const Panels& panels, const Activations& x, size_t cols, float* y,
                                        size_t y_stride);
  // The same, added to y, in sums of f64. What is added up (a block's product, or a float's) is rounded to f32 first
  // and does not depend on where a sum begins or ends, so sums over the same weights that were divided or ordered in
  // another way are the same once rounded to f32 (docs/decisions/same-tokens-everywhere.md).
  void (*add_rows_f64[kWeightTypes])(const std::byte* const* rows, size_t count, const Activations& x, size_t cols,
                                     double* y, size_t y_stride);
  void (*add_panels_f64[kWeightTypes])(const Panels& panels, const Activations& x, size_t cols, double* y,
                                       size_t y_stride);
  // y[c] += the sum over rows of scales[i] * rows[i][c], in f64, sixteen rows after the other. With float weights a
  // product is rounded to f32. With quantized ones it is exact: f32(scale * block's scale), to kSumBits significant
  // bits, times the quant; for K-quants less f32(scale * block's minimum), to as many bits. Sums of the same rows that
  // were divided or ordered in another way are then the same, as above.
  void (*accumulate[kWeightTypes])(const float* scales, const std::byte* const* rows, size_t count, double* y,
                                   size_t cols);
  // y[c] = row[c]
  void (*dequantize[kWeightTypes])(const std::byte* row, float* y, size_t cols);
  // y[c] += scales[i] * rows[i * cols + c] for one i after the other.
  void (*add_scaled_rows_f16)(const float* scales, const uint16_t* rows, size_t count, float* y, size_t cols);
  // y[i] = e^(x[i] - shift); y[i] = g[i] / (1 + e^-g[i]) * u[i]. To a few units in the last place; the same bits in all
  // sets but scalar.
  void (*exp_minus)(const float* x, float shift, float* y, size_t count);
  void (*silu_times)(const float* g, const float* u, float* y, size_t count);
  void (*quantize)(const float* x, Q8Activation* y, size_t cols);
  // IEEE half precision, rounded to nearest even.
  void (*to_f16)(const float* x, uint16_t* y, size_t cols);
};

// How accumulate() rounds and adds up.
inline constexpr int kSumBits = 12;
inline constexpr size_t kSumRows = 16;

// The kernels of an instruction set, or nullptr if this CPU (or this build) cannot run them.
const Kernels* kernels_for(InstructionSet set);

// The fastest kernels that this CPU can run.
const Kernels& best_kernels();

const char* name_of(InstructionSet set);
const char* name_of(WeightType type);

}  // namespace thermocline
