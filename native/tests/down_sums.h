// Down rows summed by neuron on the card, and by the CPU's kernels, which say what comes of it.
#pragma once

#include <cmath>

#include "../engine/cuda/down_by_neuron.h"
#include "card.h"

namespace thermocline::test {

using cuda::NeuronCounts;

// Hidden values of a tile of rows, as the card has them.
struct Tile {
  unsigned rows, neurons, stride;
  CardMemory<float> hidden;
  CardMemory<uint32_t> nonzero;

  Tile(unsigned rows, unsigned neurons)
      : rows(rows),
        neurons(neurons),
        stride(cuda::whole_words(neurons)),
        hidden(std::vector<float>(size_t{rows} * stride)),
        nonzero(std::vector<uint32_t>(size_t{rows} * stride / 32)) {}

  float value(unsigned row, unsigned neuron) { return hidden[size_t{row} * stride + neuron]; }
  void set(unsigned row, unsigned neuron, float value) {
    const size_t at = size_t{row} * stride + neuron;
    hidden[at] = value;
    nonzero[at / 32] = (nonzero[at / 32] & ~(1u << at % 32)) | static_cast<uint32_t>(value != 0) << at % 32;
  }
  cuda::TileNeurons on_card() { return {hidden.data(), nonzero.data(), nullptr, stride}; }
};

// One neuron in `one_in` fires for a row, with a value 2^0 to 2^-spread times a random one.
inline Tile random_tile(Random& random, unsigned rows, unsigned neurons, unsigned one_in, unsigned spread) {
  Tile tile(rows, neurons);
  for (unsigned j = 0; j < rows; ++j) {
    for (unsigned n = 0; n < neurons; ++n) {
      if (random_bits(random) % one_in != 0) continue;
      const int exponent = spread == 0 ? 0 : -static_cast<int>(random_bits(random) % (spread + 1));
      tile.set(j, n, std::ldexp(random_float(random, Data::random), exponent));
    }
  }
  return tile;
}

template <unsigned X>
std::vector<double> on_the_card(WeightType type, const std::vector<Bytes>& down, unsigned cols, Tile& tile,
                                NeuronCounts& counts) {
  CardMemory<NeuronCounts> card_counts(1, counts);
  CardMemory<std::byte> rows = card_rows(type, down, cols);
  CardMemory<double> partial(cuda::partial_sums(X, tile.neurons, cols)), out(size_t{X} * cols);
  cuda::sum_down_by_neuron(nullptr, {rows.data(), type, tile.neurons, cols}, tile.on_card(), X, partial.data(),
                           out.data(), card_counts.data());
  counts = card_counts[0];
  return out.values();
}

// All rows of the tile at once, on tensor cores.
inline std::vector<double> many_on_the_card(WeightType type, const std::vector<Bytes>& down, unsigned cols, Tile& tile) {
  CardMemory<std::byte> rows = card_rows(type, down, cols);
  CardMemory<double> partial(cuda::partial_sums_of_many(tile.rows, tile.neurons, cols));
  CardMemory<double> out(size_t{tile.rows} * cols);
  cuda::sum_down_of_many_by_neuron(nullptr, {rows.data(), type, tile.neurons, cols}, tile.on_card(), tile.rows,
                                   partial.data(), out.data());
  return out.values();
}

// Neurons that a row of the tile needs.
inline uint32_t needed(Tile& tile) {
  uint32_t count = 0;
  for (unsigned n = 0; n < tile.neurons; ++n) {
    bool any = false;
    for (unsigned j = 0; j < tile.rows; ++j) any |= tile.value(j, n) != 0;
    count += any;
  }
  return count;
}

inline void check_sums(WeightType type, const std::vector<Bytes>& down, unsigned cols, Tile& tile,
                const std::vector<double>& actual) {
  for (unsigned j = 0; j < tile.rows; ++j) {
    std::vector<float> values;
    std::vector<const std::byte*> rows;
    for (unsigned n = 0; n < tile.neurons; ++n) {
      if (tile.value(j, n) == 0) continue;
      values.push_back(tile.value(j, n));
      rows.push_back(reinterpret_cast<const std::byte*>(down[n].data()));
    }
    std::vector<double> expected(cols);
    best_kernels().accumulate[index_of(type)](values.data(), rows.data(), rows.size(), expected.data(), cols);
    for (unsigned c = 0; c < cols; ++c) {
      if (same_value(static_cast<float>(actual[j * cols + c]), static_cast<float>(expected[c]))) continue;
      fail(__FILE__, __LINE__, name_of(type), ", ", tile.neurons, " neurons, row ", j, " of ", tile.rows, ", column ", c,
           " of ", cols, ": ", actual[j * cols + c], " instead of ", expected[c]);
    }
  }
}

inline void check_many(WeightType type, const std::vector<Bytes>& down, unsigned cols, Tile& tile) {
  check_sums(type, down, cols, tile, many_on_the_card(type, down, cols, tile));
}

template <unsigned X>
void check(WeightType type, const std::vector<Bytes>& down, unsigned cols, Tile& tile) {
  NeuronCounts counts{};
  check_sums(type, down, cols, tile, on_the_card<X>(type, down, cols, tile, counts));
  CHECK_EQ(counts.downs, needed(tile));
  if (block_elements(type) > 1) check_many(type, down, cols, tile);
}

inline unsigned some_columns(WeightType type) { return block_elements(type) == 1 ? 300 : 256; }

}  // namespace thermocline::test
