// Sums of down rows on the card, emulated, where they leave the range of floats: the CPU's, by neuron and by output.
#include <cmath>

#include "../engine/cuda/down_by_output.h"
#include "down_sums.h"

namespace thermocline {
namespace {

using namespace test;

// Of rows of down, one an output, of as many columns as the tile has neurons; actual [rows][outputs].
void check_outputs(WeightType type, const std::vector<Bytes>& down, Tile& tile, const CardMemory<double>& actual) {
  const size_t outputs = down.size(), neurons = tile.neurons;
  std::vector<const std::byte*> from;
  for (const Bytes& row : down) from.push_back(reinterpret_cast<const std::byte*>(row.data()));
  for (unsigned j = 0; j < tile.rows; ++j) {
    const float* hidden = &tile.hidden[size_t{j} * tile.stride];
    std::vector<Q8Activation> blocks(neurons / kBlock);
    best_kernels().quantize(hidden, blocks.data(), neurons);
    const Activations x{wants_quantized_activation(type) ? static_cast<const void*>(blocks.data()) : hidden, 0, 1};
    std::vector<double> expected(outputs);
    best_kernels().add_rows_f64[index_of(type)](from.data(), outputs, x, neurons, expected.data(), outputs);
    for (size_t r = 0; r < outputs; ++r) {
      if (same_value(static_cast<float>(actual[j * outputs + r]), static_cast<float>(expected[r]))) continue;
      fail(__FILE__, __LINE__, name_of(type), " by output, row ", j, " of ", tile.rows, ", output ", r, ": ",
           actual[j * outputs + r], " instead of ", expected[r]);
    }
  }
}

template <unsigned X>
void check_by_output(WeightType type, const std::vector<Bytes>& down, Tile& tile) {
  CardMemory<NeuronCounts> counts(1, {});
  CardMemory<std::byte> rows = card_rows(type, down, tile.neurons);
  CardMemory<Q8Activation> quantized(size_t{X} * tile.neurons / kBlock);
  CardMemory<double> out(X * down.size());
  const cuda::CardMatrix matrix{rows.data(), type, static_cast<unsigned>(down.size()), tile.neurons};
  cuda::sum_down_by_output(nullptr, matrix, tile.on_card(), X, quantized.data(), out.data(), counts.data());
  check_outputs(type, down, tile, out);
  if (block_elements(type) == 1) return;
  CardMemory<double> of_many(X * down.size());
  cuda::sum_down_of_many_by_output(nullptr, matrix, tile.on_card(), X, quantized.data(), of_many.data());
  check_outputs(type, down, tile, of_many);
}

// Of five parts of as many neurons, whose weights are the same: the second's terms are the first's, the third's and
// fourth's their negatives, and the last's far smaller, so that sums leave the range of floats and come back.
Tile tile_of_parts(Random& random, unsigned rows, unsigned part, int scale) {
  constexpr float kFactors[] = {1, 1, -1, -1, 0x1p-10f};
  Tile tile(rows, 5 * part);
  for (unsigned j = 0; j < rows; ++j) {
    for (unsigned n = 0; n < part; ++n) {
      const float value = std::ldexp(random_float(random, Data::random), scale);
      for (unsigned p = 0; p < 5; ++p) tile.set(j, p * part + n, value * kFactors[p]);
    }
  }
  return tile;
}

TEST(sums_that_leave_the_range_of_floats_come_back) {
  Random random(9);
  for (const WeightType type : {WeightType::f32, WeightType::f16, WeightType::bf16}) {
    const unsigned cols = some_columns(type);
    auto down = random_rows(random, type, Data::random, cols, 20);
    for (unsigned n = 4; n < 20; ++n) down[n] = down[n % 4];
    const auto check_rows = [&]<unsigned X>(int scale) {
      Tile tile = tile_of_parts(random, X, 4, scale);
      check<X>(type, down, cols, tile);
      tile.set(X - 1, 7, HUGE_VALF);
      check<X>(type, down, cols, tile);
    };
    for (const int scale : {120, 125, 127}) {
      check_rows.operator()<1>(scale);
      check_rows.operator()<8>(scale);
    }
  }
}

TEST(sums_by_output_that_leave_the_range_of_floats_come_back) {
  constexpr unsigned kPart = 32 * kBlock;  // neurons, from which on a warp's lanes begin anew
  Random random(10);
  for (const WeightType type : kTypes) {
    std::vector<Bytes> down(3);
    for (Bytes& row : down) {
      const Bytes part = random_row(random, type, Data::random, kPart);
      for (unsigned p = 0; p < 5; ++p) row.insert(row.end(), part.begin(), part.end());
    }
    const auto check_rows = [&]<unsigned X>(int scale) {
      Tile tile = tile_of_parts(random, X, kPart, scale);
      check_by_output<X>(type, down, tile);
      tile.set(X - 1, 7, HUGE_VALF);
      check_by_output<X>(type, down, tile);
    };
    for (const int scale : {110, 113, 116, 119, 122, 125}) {
      check_rows.operator()<1>(scale);
      check_rows.operator()<4>(scale);
    }
  }
}

}  // namespace
}  // namespace thermocline
