#include <cstring>

#include "kernels.h"
#include "sub_block.h"

namespace thermocline {
namespace {

using namespace block_formats;

// Calls work(Format{}) for types that have panels.
template <class Work>
void with_format(WeightType type, const Work& work) {
  switch (type) {
    case WeightType::q8_0: return work(Q8_0{});
    case WeightType::q4_0: return work(Q4_0{});
    case WeightType::q4_k: return work(Q4_K{});
    case WeightType::q5_k: return work(Q5_K{});
    case WeightType::q6_k: return work(Q6_K{});
    case WeightType::f32:
    case WeightType::f16:
    case WeightType::bf16: return;
  }
}

template <class Format>
void pack(const std::byte* row, size_t index, size_t cols, std::byte* panel) {
  for (size_t b = 0; b < cols / Format::kElements; ++b, row += Format::kBytes, panel += kPanelRows * Format::kBytes) {
    for_each_piece<Format>([&](size_t offset, size_t bytes) {
      std::memcpy(panel + kPanelRows * offset + index * bytes, row + offset, bytes);
    });
  }
}

}  // namespace

bool has_panels(WeightType type) { return wants_quantized_activation(type); }

void pack_panel(WeightType type, const std::byte* const* rows, size_t count, size_t cols, std::byte* panel) {
  with_format(type, [&]<class Format>(Format) {
    if (count < kPanelRows) std::memset(panel, 0, kPanelRows * row_bytes(type, cols));
    for (size_t r = 0; r < count; ++r) pack<Format>(rows[r], r, cols, panel);
  });
}

void pack_row(WeightType type, const std::byte* row, size_t index, size_t cols, std::byte* panel) {
  with_format(type, [&]<class Format>(Format) { pack<Format>(row, index, cols, panel); });
}

}  // namespace thermocline
