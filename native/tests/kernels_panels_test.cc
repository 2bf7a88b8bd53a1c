// Products with panels: the bits that rows give, however panels are packed, entered and placed.
#include "../kernels/kernels.h"

#include <algorithm>
#include <vector>

#include "check.h"
#include "kernel_calls.h"

namespace thermocline {
namespace {

using namespace test;

TEST(types_with_scales_have_panels) {
  for (const WeightType type : kTypes) {
    const bool expected = block_elements(type) > 1;
    CHECK_EQ(has_panels(type), expected);
    for (const Kernels* kernels : instruction_sets()) {
      CHECK_EQ(kernels->multiply_panels[index_of(type)] != nullptr, expected);
      CHECK_EQ(kernels->add_panels_f64[index_of(type)] != nullptr, expected);
    }
  }
}

// Bytes of the piece at `offset` into a block: a half, or four bytes of anything else.
size_t piece_bytes(WeightType type, size_t offset) {
  const Halves halves = halves_of(type);
  return offset == halves.d || offset == halves.minimum_d ? sizeof(uint16_t) : 4;
}

// Of each block the first piece of each row, then the next ones.
TEST(a_panel_interleaves_halves_and_four_bytes_of_each_row) {
  constexpr size_t kBlocks = 3;
  Random random(1);
  for (const WeightType type : kPanelTypes) {
    const size_t bytes = block_bytes(type);
    for (size_t count = 0; count <= kPanelRows; ++count) {
      const auto rows = random_rows(random, type, Data::random, kBlocks * block_elements(type), count);
      Bytes expected;
      const auto take = [&](size_t r, size_t from, size_t size) {
        for (size_t i = 0; i < size; ++i) expected.push_back(r < count ? rows[r][from + i] : 0);
      };
      for (size_t block = 0; block < kBlocks * bytes; block += bytes) {
        for (size_t at = 0; at < bytes; at += piece_bytes(type, at)) {
          for (size_t r = 0; r < kPanelRows; ++r) take(r, block + at, piece_bytes(type, at));
        }
      }
      for (size_t misalignment = 0; misalignment < kMisalignments; ++misalignment) {
        PlacedRows placed_rows(rows, misalignment);
        Placed panel(Bytes(expected.size(), 0xff).data(), expected.size(), misalignment);
        pack_panel(type, placed_rows.data(), count, kBlocks * block_elements(type), panel.as<std::byte>());
        CHECK(panel.holds(expected.data()));
        CHECK(panel.guards_intact());
      }
    }
  }
}

// Panels of `rows`, `gap` bytes apart.
class PlacedPanels {
 public:
  PlacedPanels(WeightType type, const std::vector<Bytes>& rows, size_t cols, size_t gap = 0, size_t misalignment = 0)
      : stride_(kPanelRows * row_bytes(type, cols) + gap),
        count_((rows.size() + kPanelRows - 1) / kPanelRows),
        // Apart like rows of activations.
        placed_(packed(type, rows, cols), gap, misalignment) {}
  operator Panels() {
    return {static_cast<const std::byte*>(static_cast<Activations>(placed_).data), stride_, count_};
  }

 private:
  size_t stride_, count_;
  PlacedActivations placed_;
};

// The products that rows give; those of rows that a panel lacks are 0.
template <typename Number>
void expect_products_of_rows(Output<Number>& y, WeightType type, const std::vector<Bytes>& rows,
                             const std::vector<Bytes>& xs, size_t cols) {
  const size_t count = (rows.size() + kPanelRows - 1) / kPanelRows * kPanelRows;
  for (size_t j = 0; j < xs.size(); ++j) {
    for (size_t i = 0; i < count; ++i) {
      y.expect(i, j, i < rows.size() ? promised_product<Number>(type, rows[i], xs[j], cols) : Number{0});
    }
  }
}

template <typename Number>
void check_panels(const std::vector<Bytes>& rows, const std::vector<Bytes>& xs, WeightType type, size_t cols,
                  size_t gap, size_t misalignment) {
  PlacedPanels panels(type, rows, cols, gap, misalignment);
  PlacedActivations x(xs, gap, (misalignment + gap) % kMisalignments);
  const size_t count = static_cast<Panels>(panels).count * kPanelRows;
  Output<Number> expected(count, xs.size(), count + gap);
  expect_products_of_rows(expected, type, rows, xs, cols);
  for (const Kernels* kernels : instruction_sets()) {
    Output<Number> y = expected.unwritten(misalignment);
    panels_kernel<Number>(*kernels, type)(panels, x, cols, y.data(), y.stride());
    CHECK(y.right());
  }
}

TEST(panels_give_the_bits_of_rows_on_every_length) {
  Random random(2);
  for (const WeightType type : kPanelTypes) {
    for (const size_t cols : lengths(type)) {
      for (const Data data : kData) {
        for (const auto& [of_rows, of_xs] : {std::pair{data, data}, {data, Data::random}, {Data::random, data}}) {
          const auto rows = random_rows(random, type, of_rows, cols, kPanelRows);
          const auto xs = random_activations(random, type, of_xs, cols, 5);
          check_panels<float>(rows, xs, type, cols, 0, 0);
          check_panels<double>(rows, xs, type, cols, 0, 0);
        }
      }
    }
  }
}

TEST(panels_and_activations_of_any_number_give_the_bits_of_rows) {
  Random random(3);
  for (const WeightType type : kPanelTypes) {
    const size_t cols = std::max(3 * kBlock, block_elements(type));
    const auto rows = random_rows(random, type, Data::random, cols, 3 * kPanelRows);
    const auto xs = random_activations(random, type, Data::random, cols, 9);
    for (size_t count = 0; count <= rows.size(); ++count) {
      for (size_t activations = 0; activations <= xs.size(); ++activations) {
        const std::vector<Bytes> some(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count));
        const std::vector<Bytes> few(xs.begin(), xs.begin() + static_cast<std::ptrdiff_t>(activations));
        check_panels<float>(some, few, type, cols, (count + activations) % 7, 0);
        check_panels<double>(some, few, type, cols, (count + activations) % 7, 0);
      }
    }
  }
}

TEST(panels_give_the_bits_of_rows_at_every_misalignment) {
  Random random(4);
  for (const WeightType type : kPanelTypes) {
    for (size_t cols = 0; cols <= std::max(3 * kBlock, block_elements(type)); cols += block_elements(type)) {
      const auto rows = random_rows(random, type, Data::random, cols, kPanelRows);
      const auto xs = random_activations(random, type, Data::random, cols, 5);
      for (size_t misalignment = 0; misalignment < kMisalignments; ++misalignment) {
        for (size_t gap = 0; gap < kMisalignments; ++gap) {
          check_panels<float>(rows, xs, type, cols, gap, misalignment);
          check_panels<double>(rows, xs, type, cols, gap, misalignment);
        }
      }
    }
  }
}

Bytes part_of(const Bytes& all, size_t begin, size_t end) {
  return {all.begin() + static_cast<std::ptrdiff_t>(begin), all.begin() + static_cast<std::ptrdiff_t>(end)};
}

TEST(a_panel_may_be_entered_and_left_at_any_block) {
  constexpr size_t kBlocks = 6;
  Random random(5);
  for (const WeightType type : kPanelTypes) {
    const size_t block = block_elements(type), x_bytes = activation_bytes(type, block);
    const size_t cols = kBlocks * block;
    const auto rows = random_rows(random, type, Data::random, cols, 2 * kPanelRows);
    const auto xs = random_activations(random, type, Data::random, cols, 2);
    PlacedPanels placed(type, rows, cols);
    for (size_t begin = 0; begin <= kBlocks; ++begin) {
      for (size_t end = begin; end <= kBlocks; ++end) {
        std::vector<Bytes> row_parts, x_parts;
        for (const Bytes& row : rows) {
          row_parts.push_back(part_of(row, begin * block_bytes(type), end * block_bytes(type)));
        }
        for (const Bytes& x : xs) {
          x_parts.push_back(part_of(x, begin * x_bytes, end * x_bytes));
        }
        Panels panels = placed;
        panels.data += begin * kPanelRows * block_bytes(type);
        PlacedActivations x(x_parts);
        Output<float> expected(rows.size(), xs.size(), rows.size());
        expect_products_of_rows(expected, type, row_parts, x_parts, (end - begin) * block);
        for (const Kernels* kernels : instruction_sets()) {
          Output<float> y = expected.unwritten();
          kernels->multiply_panels[index_of(type)](panels, x, (end - begin) * block, y.data(), y.stride());
          CHECK(y.right());
        }
      }
    }
  }
}

// What columns an executor has of a panel, or which of them fired, does not show in the sum of sums.
TEST(sums_over_a_panels_parts_are_the_same_floats) {
  constexpr size_t kBlocks = 12;
  Random random(6);
  for (const WeightType type : kPanelTypes) {
    const size_t block = block_elements(type), x_bytes = activation_bytes(type, block);
    const size_t cols = kBlocks * block;
    const auto rows = random_rows(random, type, Data::random, cols, kPanelRows);
    const auto xs = random_activations(random, type, Data::random, cols, 1);
    PlacedPanels placed(type, rows, cols);
    for (const Kernels* kernels : instruction_sets()) {
      const auto add = kernels->add_panels_f64[index_of(type)];
      double whole[kPanelRows] = {};
      add(placed, {xs[0].data(), 0, 1}, cols, whole, kPanelRows);
      for (const size_t run : {1u, 2u, 5u}) {
        double sums[kPanelRows] = {};
        for (size_t begin = 0; begin < kBlocks; begin += run) {
          const size_t blocks = begin + run < kBlocks ? run : kBlocks - begin;
          Panels panels = placed;
          panels.data += begin * kPanelRows * block_bytes(type);
          add(panels, {xs[0].data() + begin * x_bytes, 0, 1}, blocks * block, sums, kPanelRows);
        }
        for (size_t i = 0; i < kPanelRows; ++i) CHECK_EQ(static_cast<float>(sums[i]), static_cast<float>(whole[i]));
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
