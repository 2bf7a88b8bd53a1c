#include <cstring>

#include "kernels.h"
#include "sub_block.h"

namespace thermocline {
namespace {

using namespace block_formats;

template <class Format>
void pack(const std::byte* const* rows, size_t count, size_t cols, std::byte* panel) {
  const size_t blocks = cols / Format::kElements;
  if (count < kPanelRows) std::memset(panel, 0, kPanelRows * blocks * Format::kBytes);
  for (size_t r = 0; r < count; ++r) {
    const std::byte* from = rows[r];
    std::byte* to = panel;
    for (size_t b = 0; b < blocks; ++b, from += Format::kBytes, to += kPanelRows * Format::kBytes) {
      for_each_piece<Format>([&](size_t offset, size_t bytes) {
        std::memcpy(to + kPanelRows * offset + r * bytes, from + offset, bytes);
      });
    }
  }
}

}  // namespace

bool has_panels(WeightType type) { return wants_quantized_activation(type); }

void pack_panel(WeightType type, const std::byte* const* rows, size_t count, size_t cols, std::byte* panel) {
  switch (type) {
    case WeightType::q8_0: return pack<Q8_0>(rows, count, cols, panel);
    case WeightType::q4_0: return pack<Q4_0>(rows, count, cols, panel);
    case WeightType::q4_k: return pack<Q4_K>(rows, count, cols, panel);
    case WeightType::q5_k: return pack<Q5_K>(rows, count, cols, panel);
    case WeightType::q6_k: return pack<Q6_K>(rows, count, cols, panel);
    case WeightType::f32:
    case WeightType::f16:
    case WeightType::bf16: return;
  }
}

}  // namespace thermocline
