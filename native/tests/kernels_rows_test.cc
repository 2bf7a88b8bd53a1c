// Products with rows: against double precision on every length, the same bits whatever is computed beside them, and the
// same bits in every instruction set.
#include "../kernels/kernels.h"

#include <vector>

#include "check.h"
#include "kernel_calls.h"

namespace thermocline {
namespace {

using namespace test;

struct Case {
  std::vector<Bytes> rows, xs;
};

// Every kind of data by itself and by ordinary data.
std::vector<Case> cases_of(Random& random, WeightType type, size_t cols) {
  constexpr size_t kRows = 3, kActivations = 2;
  std::vector<Case> all;
  for (const Data data : kData) {
    for (const auto& [of_rows, of_xs] : {std::pair{data, data}, {data, Data::random}, {Data::random, data}}) {
      all.push_back({random_rows(random, type, of_rows, cols, kRows),
                     random_activations(random, type, of_xs, cols, kActivations)});
    }
  }
  return all;
}

template <typename Visit>
void for_each_case(uint32_t seed, const Visit& visit) {
  Random random(seed);
  for (const WeightType type : kTypes) {
    for (const size_t cols : lengths(type)) {
      for (const Case& one : cases_of(random, type, cols)) visit(type, cols, one.rows, one.xs);
    }
  }
}

TEST(products_are_right_on_every_length) {
  for_each_case(1, [](WeightType type, size_t cols, const auto& rows, const auto& xs) {
    std::vector<Product> expected;
    for (const Bytes& x : xs) {
      for (const Bytes& row : rows) expected.push_back(product_of(type, row, x, cols));
    }
    for (const Kernels* kernels : instruction_sets()) {
      const auto f32 = products<float>(*kernels, type, rows, xs, cols);
      const auto f64 = products<double>(*kernels, type, rows, xs, cols);
      for (size_t i = 0; i < expected.size(); ++i) {
        check_product(*kernels, type, cols, f32[i], expected[i]);
        check_product(*kernels, type, cols, f64[i], expected[i]);
      }
    }
  });
}

TEST(products_of_quantized_weights_are_the_promised_bits_in_every_instruction_set) {
  for_each_case(2, [](WeightType type, size_t cols, const auto& rows, const auto& xs) {
    if (!wants_quantized_activation(type)) return;
    std::vector<float> f32;
    std::vector<double> f64;
    for (const Bytes& x : xs) {
      for (const Bytes& row : rows) {
        f32.push_back(promised_product<float>(type, row, x, cols));
        f64.push_back(promised_product<double>(type, row, x, cols));
      }
    }
    for (const Kernels* kernels : instruction_sets()) {
      CHECK(same_numbers(products<float>(*kernels, type, rows, xs, cols), f32));
      CHECK(same_numbers(products<double>(*kernels, type, rows, xs, cols), f64));
    }
  });
}

std::vector<float> rounded(const std::vector<double>& sums) { return {sums.begin(), sums.end()}; }

TEST(products_of_float_weights_are_the_same_bits_in_every_instruction_set_that_fuses) {
  for_each_case(3, [](WeightType type, size_t cols, const auto& rows, const auto& xs) {
    if (wants_quantized_activation(type)) return;
    const auto f64 = rounded(products<double>(scalar_kernels(), type, rows, xs, cols));
    std::vector<float> f32;
    for (const Kernels* kernels : instruction_sets()) {
      CHECK(same_numbers(rounded(products<double>(*kernels, type, rows, xs, cols)), f64));
      if (!fuses(*kernels)) continue;
      const auto actual = products<float>(*kernels, type, rows, xs, cols);
      if (f32.empty()) f32 = actual;
      CHECK(same_numbers(actual, f32));
    }
  });
}

// Fused with a sum of 0 they become -0, which an addition of 0 that another instruction set does without makes +0.
TEST(negative_products_too_small_for_f32_have_the_same_sign_in_every_instruction_set_that_fuses) {
  for (size_t cols = 0; cols <= 130; ++cols) {
    Bytes row, x;
    for (size_t i = 0; i < cols; ++i) {
      append(row, 0x1p-100f);
      append(x, -0x1p-100f);
    }
    std::vector<float> first;
    for (const Kernels* kernels : instruction_sets()) {
      if (!fuses(*kernels)) continue;
      const auto actual = products<float>(*kernels, WeightType::f32, {row}, {x}, cols);
      if (first.empty()) first = actual;
      CHECK(same_numbers(actual, first));
    }
  }
}

// Of blocks an odd number, of floats whole vectors and a rest.
size_t some_length(WeightType type) { return block_elements(type) == 1 ? 53 : 3 * block_elements(type); }

template <typename Number>
void check_beside_others(const Kernels& kernels, WeightType type, const std::vector<Bytes>& rows,
                         const std::vector<Bytes>& xs, size_t cols) {
  const std::vector<Number> alone = products<Number>(kernels, type, rows, xs, cols);
  for (size_t count = 1; count <= rows.size(); ++count) {
    for (size_t activations = 1; activations <= xs.size(); ++activations) {
      const std::vector<Bytes> some(rows.end() - static_cast<std::ptrdiff_t>(count), rows.end());
      const std::vector<Bytes> few(xs.begin(), xs.begin() + static_cast<std::ptrdiff_t>(activations));
      const size_t extra = (count + activations) % 4;
      PlacedRows placed_rows(some);
      PlacedActivations x(few, 4 * extra + extra % 2);
      Output<Number> y(count, activations, count + extra);
      rows_kernel<Number>(kernels, type)(placed_rows.data(), count, x, cols, y.data(), y.stride());
      for (size_t j = 0; j < activations; ++j) {
        for (size_t i = 0; i < count; ++i) y.expect(i, j, alone[j * rows.size() + rows.size() - count + i]);
      }
      CHECK(y.right());
    }
  }
}

TEST(a_product_is_the_same_bits_beside_any_others) {
  Random random(4);
  for (const WeightType type : kTypes) {
    const size_t cols = some_length(type);
    const auto rows = random_rows(random, type, Data::random, cols, 17);
    const auto xs = random_activations(random, type, Data::random, cols, 9);
    for (const Kernels* kernels : instruction_sets()) {
      check_beside_others<float>(*kernels, type, rows, xs, cols);
      check_beside_others<double>(*kernels, type, rows, xs, cols);
    }
  }
}

TEST(no_rows_and_no_activations_write_nothing) {
  Random random(5);
  for (const WeightType type : kTypes) {
    const size_t cols = some_length(type);
    const auto rows = random_rows(random, type, Data::random, cols, 3);
    const auto xs = random_activations(random, type, Data::random, cols, 2);
    for (const Kernels* kernels : instruction_sets()) {
      PlacedRows placed_rows(rows);
      PlacedActivations x(xs), none(std::vector<Bytes>{});
      Output<float> f32(3, 2, 3);
      Output<double> f64(3, 2, 3);
      kernels->multiply_rows[index_of(type)](placed_rows.data(), 0, x, cols, f32.data(), 3);
      kernels->multiply_rows[index_of(type)](placed_rows.data(), 3, none, cols, f32.data(), 3);
      kernels->add_rows_f64[index_of(type)](placed_rows.data(), 0, x, cols, f64.data(), 3);
      kernels->add_rows_f64[index_of(type)](placed_rows.data(), 3, none, cols, f64.data(), 3);
      CHECK(f32.right() && f64.right());
    }
  }
}

template <typename Number>
void check_misaligned(const Kernels& kernels, WeightType type, const std::vector<Bytes>& rows,
                      const std::vector<Bytes>& xs, size_t cols) {
  const std::vector<Number> expected = products<Number>(kernels, type, rows, xs, cols);
  for (size_t of_rows = 0; of_rows < kMisalignments; ++of_rows) {
    PlacedRows placed_rows(rows, of_rows);
    for (size_t of_x = 0; of_x < kMisalignments; ++of_x) {
      PlacedActivations x(xs, 0, of_x);
      Output<Number> y(rows.size(), xs.size(), rows.size(), (of_rows + of_x) % kMisalignments);
      rows_kernel<Number>(kernels, type)(placed_rows.data(), rows.size(), x, cols, y.data(), y.stride());
      for (size_t j = 0; j < xs.size(); ++j) {
        for (size_t i = 0; i < rows.size(); ++i) y.expect(i, j, expected[j * rows.size() + i]);
      }
      CHECK(y.right());
    }
  }
}

// Nine rows: as many as are computed at once, and one more.
TEST(products_are_the_same_bits_at_every_misalignment) {
  Random random(6);
  for (const WeightType type : kTypes) {
    for (const size_t cols : lengths(type)) {
      const auto rows = random_rows(random, type, Data::random, cols, 9);
      const auto xs = random_activations(random, type, Data::random, cols, 1);
      for (const Kernels* kernels : instruction_sets()) {
        check_misaligned<float>(*kernels, type, rows, xs, cols);
        check_misaligned<double>(*kernels, type, rows, xs, cols);
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
