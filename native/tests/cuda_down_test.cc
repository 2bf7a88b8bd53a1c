// Sums of down rows on the card, emulated: once rounded to f32, the CPU's for every type, and wherever scales lie.
#include <cmath>
#include <limits>

#include "down_sums.h"

namespace thermocline {
namespace {

using namespace test;

TEST(sums_are_the_cpus_for_every_type) {
  Random random(1);
  for (const WeightType type : kTypes) {
    const unsigned cols = some_columns(type);
    const auto down = random_rows(random, type, Data::random, cols, 150);
    for (const unsigned one_in : {1u, 3u, 20u}) {
      Tile one = random_tile(random, 1, 150, one_in, 0), eight = random_tile(random, 8, 150, one_in, 4);
      check<1>(type, down, cols, one);
      check<8>(type, down, cols, eight);
    }
  }
}

TEST(sums_are_the_cpus_for_every_length) {
  Random random(2);
  for (const WeightType type : kTypes) {
    const size_t step = std::max<size_t>(block_elements(type), 1);
    for (const size_t length : {1u, 2u, 3u, 5u, 17u, 33u, 65u, 129u, 513u}) {
      if (length * step > 4200) continue;
      const auto cols = static_cast<unsigned>(length * step);
      const auto down = random_rows(random, type, Data::random, cols, 9);
      Tile tile = random_tile(random, 2, 9, 2, 0);
      check<2>(type, down, cols, tile);
    }
  }
}

TEST(sums_are_the_cpus_for_any_number_of_neurons) {
  Random random(3);
  for (const WeightType type : {WeightType::q4_0, WeightType::q5_k, WeightType::f16}) {
    const unsigned cols = some_columns(type);
    for (const unsigned neurons : {1u, 31u, 32u, 33u, 64u, 65u, 100u, 500u, 2100u}) {
      const auto down = random_rows(random, type, Data::random, cols, neurons);
      Tile tile = random_tile(random, 1, neurons, 4, 3);
      check<1>(type, down, cols, tile);
    }
  }
}

TEST(segments_hold_all_neurons_in_whole_words) {
  for (unsigned neurons = 1; neurons < 40000; neurons += 1 + neurons / 50) {
    const cuda::Segments segments = cuda::Segments::of(neurons);
    CHECK(segments.each % 32 == 0 && segments.each <= cuda::Segments::kMostNeurons);
    CHECK(segments.each * segments.count >= neurons && segments.each * (segments.count - 1) < neurons);
  }
}

TEST(sums_of_no_neurons_are_0) {
  Random random(4);
  for (const WeightType type : {WeightType::q8_0, WeightType::q4_k, WeightType::f32}) {
    const unsigned cols = some_columns(type);
    const auto down = random_rows(random, type, Data::random, cols, 70);
    Tile tile(4, 70);
    tile.set(2, 69, 1.5f);
    check<4>(type, down, cols, tile);
  }
}

// Of 2^18 and more between a segment's scales some are added in f64; neither may be seen.
TEST(sums_of_values_that_lie_far_apart_are_the_cpus) {
  Random random(5);
  for (const WeightType type : kTypes) {
    const unsigned cols = some_columns(type);
    const auto down = random_rows(random, type, Data::random, cols, 70);
    for (const unsigned spread : {14u, 22u, 40u, 100u}) {
      Tile tile = random_tile(random, 2, 70, 2, spread);
      check<2>(type, down, cols, tile);
      for (unsigned n = 0; n < 70; ++n) tile.set(0, n, tile.value(0, n) * 0x1p-70f);
      check<2>(type, down, cols, tile);
    }
  }
}

TEST(sums_of_odd_weights_are_the_cpus) {
  Random random(6);
  for (const WeightType type : kTypes) {
    const unsigned cols = some_columns(type);
    for (const Data data : kData) {
      auto down = random_rows(random, type, data, cols, 40);
      const auto ordinary = random_rows(random, type, Data::random, cols, 40);
      for (size_t n = 0; n < down.size(); n += 3) down[n] = ordinary[n];
      Tile tile = random_tile(random, 2, 40, 2, 3);
      check<2>(type, down, cols, tile);
    }
  }
}

TEST(what_is_no_number_stays_none_and_touches_no_other_row) {
  Random random(7);
  for (const WeightType type : kTypes) {
    const unsigned cols = some_columns(type);
    auto down = random_rows(random, type, Data::random, cols, 70);
    for (const float odd : {std::nanf(""), -std::nanf("1"), HUGE_VALF, std::numeric_limits<float>::max()}) {
      Tile tile = random_tile(random, 4, 70, 2, 0);
      tile.set(1, 66, odd);
      check<4>(type, down, cols, tile);
    }
    if (block_elements(type) == 1) continue;
    put_at(down[3], halves_of(type).d, uint16_t{0x7c00});  // an infinite scale
    Tile tile = random_tile(random, 2, 70, 2, 0);
    tile.set(0, 3, 0);
    tile.set(1, 3, 1);
    check<2>(type, down, cols, tile);
  }
}

constexpr WeightType kQuantized[] = {WeightType::q8_0, WeightType::q4_0, WeightType::q4_k, WeightType::q5_k,
                                     WeightType::q6_k};

TEST(sums_of_many_rows_are_the_cpus) {
  Random random(9);
  for (const WeightType type : kQuantized) {
    for (const unsigned rows : {9u, 16u, 17u, 33u, 64u}) {
      const auto cols = static_cast<unsigned>(block_elements(type) * (block_elements(type) == 32 ? 1 + rows % 5 : 1));
      const unsigned neurons = 20 + 3 * rows;
      const auto down = random_rows(random, type, Data::random, cols, neurons);
      Tile dense = random_tile(random, rows, neurons, 1, 0), sparse = random_tile(random, rows, neurons, 10, 30);
      check_many(type, down, cols, dense);
      check_many(type, down, cols, sparse);
    }
  }
}

// As products of two normal numbers are: some of a segment are no whole numbers beside the largest.
TEST(sums_of_many_neurons_and_rows_are_the_cpus) {
  Random random(10);
  for (const WeightType type : {WeightType::q4_0, WeightType::q6_k, WeightType::q5_k}) {
    const auto cols = static_cast<unsigned>(block_elements(type));
    const unsigned neurons = 2500;
    const auto down = random_rows(random, type, Data::random, cols, neurons);
    Tile tile(16, neurons);
    for (unsigned j = 0; j < tile.rows; ++j) {
      for (unsigned n = 0; n < neurons; ++n) {
        tile.set(j, n, random_float(random, Data::random) * random_float(random, Data::random));
      }
    }
    check_many(type, down, cols, tile);
  }
}

// Integers are at their largest: nothing may overflow.
TEST(sums_of_the_largest_numbers_are_the_cpus) {
  constexpr WeightType kType = WeightType::q8_0;
  const unsigned neurons = 33000, cols = 32;
  Bytes row(row_bytes(kType, cols), 0x80);  // quants of -128
  put_at(row, halves_of(kType).d, uint16_t{0x3c00});
  const std::vector<Bytes> down(neurons, row);
  Tile tile(1, neurons);
  for (unsigned n = 0; n < neurons; ++n) tile.set(0, n, -0x1.ffep10f);
  check_many(kType, down, cols, tile);
}

TEST(a_rows_sums_are_the_same_bits_in_any_tile) {
  Random random(8);
  for (const WeightType type : kTypes) {
    const unsigned cols = some_columns(type);
    const auto down = random_rows(random, type, Data::random, cols, 100);
    Tile eight = random_tile(random, 8, 100, 2, 30);
    NeuronCounts counts{};
    const std::vector<double> together = on_the_card<8>(type, down, cols, eight, counts);
    for (const unsigned j : {0u, 7u}) {
      Tile one(1, 100);
      for (unsigned n = 0; n < 100; ++n) one.set(0, n, eight.value(j, n));
      const std::vector<double> alone = on_the_card<1>(type, down, cols, one, counts);
      CHECK(std::memcmp(alone.data(), &together[j * cols], cols * sizeof(double)) == 0);
    }
    if (block_elements(type) == 1) continue;
    const std::vector<double> many = many_on_the_card(type, down, cols, eight);
    Tile one(1, 100);
    for (unsigned n = 0; n < 100; ++n) one.set(0, n, eight.value(3, n));
    const std::vector<double> alone = many_on_the_card(type, down, cols, one);
    CHECK(std::memcmp(alone.data(), &many[3 * cols], cols * sizeof(double)) == 0);
  }
}

}  // namespace
}  // namespace thermocline
