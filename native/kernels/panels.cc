#include <cstring>

#include "blocks.h"
#include "kernels.h"

namespace thermocline {
namespace {

constexpr size_t kGroup = 4;  // bytes of one row that lie together

}  // namespace

bool has_panels(WeightType type) { return type == WeightType::q8_0 || type == WeightType::q4_0; }

void pack_panel(WeightType type, const std::byte* const* rows, size_t count, size_t cols, std::byte* panel) {
  const size_t block_bytes = row_bytes(type, kBlock);
  const size_t groups = (block_bytes - kWeightQuants) / kGroup;
  const size_t blocks = cols / kBlock;
  if (count < kPanelRows) std::memset(panel, 0, kPanelRows * blocks * block_bytes);
  for (size_t r = 0; r < count; ++r) {
    const std::byte* from = rows[r];
    std::byte* to = panel;
    for (size_t b = 0; b < blocks; ++b, from += block_bytes, to += kPanelRows * block_bytes) {
      std::memcpy(to + r * kWeightQuants, from, kWeightQuants);
      std::byte* quants = to + kPanelRows * kWeightQuants + r * kGroup;
      for (size_t g = 0; g < groups; ++g) {
        std::memcpy(quants + g * kPanelRows * kGroup, from + kWeightQuants + g * kGroup, kGroup);
      }
    }
  }
}

}  // namespace thermocline
