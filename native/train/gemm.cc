#include "gemm.h"

#include <algorithm>

namespace thermocline {
namespace {

// A panel of 32 columns takes 64 KiB and one of 12 rows 24 KiB, so that both stay in the inner caches.
constexpr size_t kDepth = 512;
// Panels a chunk takes: one read of b's panels from memory serves as many rows.
constexpr size_t kRowPanels = 8;
constexpr size_t kColPanels = 8;
constexpr size_t kMostTile = 16 * 32;

size_t panels_of(size_t count, size_t width) { return (count + width - 1) / width; }

}  // namespace

void Gemm::multiply(const Extent& extent, const Operand& a, const Operand& b, float* c, bool accumulate) {
  if (!accumulate) std::fill_n(c, extent.m * extent.n, 0.0f);
  for (size_t first = 0; first < extent.k; first += kDepth) {
    const size_t depth = std::min(kDepth, extent.k - first);
    pack(a, extent.m, kernels_.tile_rows, first, depth, a_);
    pack({b.data, b.col_stride, b.row_stride}, extent.n, kernels_.tile_cols, first, depth, b_);
    multiply_block(extent, depth, c);
  }
}

// `from` has `count` rows here, of which `width` make a panel.
void Gemm::pack(const Operand& from, size_t count, size_t width, size_t first, size_t depth,
                std::vector<float>& panels) {
  const size_t needed = panels_of(count, width) * width * depth;
  if (panels.size() < needed) panels.resize(needed);
  float* const to = panels.data();
  pool_.parallel_chunks(panels_of(count, width), 4, [&](size_t begin, size_t end, uint32_t) {
    for (size_t panel = begin; panel < end; ++panel) {
      float* out = to + panel * width * depth;
      const float* in = from.data + panel * width * from.row_stride + first * from.col_stride;
      const size_t rows = std::min(width, count - panel * width);
      if (rows < width) std::fill_n(out, width * depth, 0.0f);
      if (from.row_stride == 1) {
        for (size_t k = 0; k < depth; ++k) std::copy_n(in + k * from.col_stride, rows, out + k * width);
      } else {
        for (size_t row = 0; row < rows; ++row) {
          for (size_t k = 0; k < depth; ++k) out[k * width + row] = in[row * from.row_stride + k * from.col_stride];
        }
      }
    }
  });
}

void Gemm::multiply_block(const Extent& extent, size_t depth, float* c) {
  const auto [tile_rows, tile_cols] = std::pair(kernels_.tile_rows, kernels_.tile_cols);
  const size_t row_panels = panels_of(extent.m, tile_rows), col_panels = panels_of(extent.n, tile_cols);
  const size_t row_chunks = panels_of(row_panels, kRowPanels), col_chunks = panels_of(col_panels, kColPanels);
  const auto tile = [&](size_t row_panel, size_t col_panel) {
    const float* a = a_.data() + row_panel * tile_rows * depth;
    const float* b = b_.data() + col_panel * tile_cols * depth;
    const size_t row = row_panel * tile_rows, col = col_panel * tile_cols;
    const size_t rows = std::min(tile_rows, extent.m - row), cols = std::min(tile_cols, extent.n - col);
    float* to = c + row * extent.n + col;
    if (rows == tile_rows && cols == tile_cols) {
      kernels_.multiply_tile(depth, a, b, to, extent.n);
      return;
    }
    float whole[kMostTile] = {};
    kernels_.multiply_tile(depth, a, b, whole, tile_cols);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t j = 0; j < cols; ++j) to[i * extent.n + j] += whole[i * tile_cols + j];
    }
  };
  pool_.parallel_chunks(row_chunks * col_chunks, 1, [&](size_t begin, size_t end, uint32_t) {
    for (size_t chunk = begin; chunk < end; ++chunk) {
      const size_t first_row = chunk % row_chunks * kRowPanels, first_col = chunk / row_chunks * kColPanels;
      for (size_t j = first_col; j < std::min(col_panels, first_col + kColPanels); ++j) {
        for (size_t i = first_row; i < std::min(row_panels, first_row + kRowPanels); ++i) tile(i, j);
      }
    }
  });
}

}  // namespace thermocline
