#include "formats.h"

#include <limits>

#include "rows.h"

namespace thermocline {
namespace {

// Scales are halves.
constexpr float kMostHalf = 65504;

struct Format {
  void (*quantize)(const float* x, uint8_t* row, size_t cols);
  void (*dequantize)(const uint8_t* row, float* x, size_t cols);
  float reach;
};

// In the order of WeightType.
constexpr Format kFormats[] = {
    {formats::quantize_f32, formats::dequantize_f32, std::numeric_limits<float>::max()},
    {formats::quantize_f16, formats::dequantize_f16, kMostHalf},
    {formats::quantize_q8_0, formats::dequantize_q8_0, kMostHalf * 127},
    {formats::quantize_q4_0, formats::dequantize_q4_0, kMostHalf * 8},
    {formats::quantize_bf16, formats::dequantize_bf16, 0x1.fep127f},
    // A minimum is at most 63 times a half. The search may move it below the least element by a step, which is less
    // than the distance between the elements, which is at most twice the largest magnitude.
    {formats::quantize_q4_k, formats::dequantize_q4_k, kMostHalf * 63 / 3},
    {formats::quantize_q5_k, formats::dequantize_q5_k, kMostHalf * 63 / 3},
    // 128 steps of the scale times 32 steps of the quants, of which the search may leave some unused: half.
    {formats::quantize_q6_k, formats::dequantize_q6_k, kMostHalf * 128 * 32 / 2},
};
static_assert(sizeof kFormats / sizeof kFormats[0] == kWeightTypes);

const Format& format_of(WeightType type) { return kFormats[static_cast<size_t>(type)]; }

}  // namespace

void quantize_row(WeightType type, const float* x, uint8_t* row, size_t cols) {
  format_of(type).quantize(x, row, cols);
}

void dequantize_row(WeightType type, const uint8_t* row, float* x, size_t cols) {
  format_of(type).dequantize(row, x, cols);
}

float reach(WeightType type) { return format_of(type).reach; }

}  // namespace thermocline
