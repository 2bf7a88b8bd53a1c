#include "blocks.h"
#include "kernels.h"

namespace thermocline {
namespace {

struct Format {
  const char* name;
  size_t elements;  // stored together in
  size_t bytes;
  bool wants_quantized_activation;
};

// In the order of WeightType.
constexpr Format kFormats[] = {
    {"f32", 1, 4, false},
    {"f16", 1, 2, false},
    {"q8_0", kBlock, kQ8_0BlockBytes, true},
    {"q4_0", kBlock, kQ4_0BlockBytes, true},
    {"bf16", 1, 2, false},
    {"q4_k", kSuperBlock, kQ4_KBlockBytes, true},
    {"q5_k", kSuperBlock, kQ5_KBlockBytes, true},
    {"q6_k", kSuperBlock, kQ6_KBlockBytes, true},
};
static_assert(sizeof kFormats / sizeof kFormats[0] == kWeightTypes);

const Format& format_of(WeightType type) { return kFormats[static_cast<size_t>(type)]; }

}  // namespace

size_t block_elements(WeightType type) { return format_of(type).elements; }

size_t row_bytes(WeightType type, size_t cols) {
  const Format& format = format_of(type);
  return cols / format.elements * format.bytes;
}

bool wants_quantized_activation(WeightType type) { return format_of(type).wants_quantized_activation; }

const char* name_of(WeightType type) { return format_of(type).name; }

}  // namespace thermocline
