// Norms and quantized activations on the card, emulated: the bits of the CPU's.
#include "../engine/cuda/norm.h"

#include <cmath>
#include <limits>

#include "../engine/cpu/norm.h"
#include "card.h"

namespace thermocline {
namespace {

using namespace test;

std::vector<Q8Activation> quantized_by_cpu(const std::vector<float>& x) {
  std::vector<Q8Activation> y(x.size() / kBlock);
  best_kernels().quantize(x.data(), y.data(), x.size());
  return y;
}

void check_blocks(CardMemory<Q8Activation>& actual, const std::vector<Q8Activation>& expected) {
  CHECK_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof expected[i]) != 0) fail(__FILE__, __LINE__, "block ", i, " differs");
  }
}

void check_quantized(const std::vector<float>& values, unsigned rows, bool rectify) {
  CardMemory<float> x(values);
  CardMemory<Q8Activation> y(values.size() / kBlock);
  cuda::quantize(nullptr, x.data(), rows, static_cast<unsigned>(values.size() / rows), rectify, y.data());
  std::vector<float> wanted = values;
  if (rectify) {
    for (float& value : wanted) value = std::max(value, 0.0f);
  }
  check_blocks(y, quantized_by_cpu(wanted));
}

TEST(blocks_are_the_cpus_bits) {
  Random random(1);
  for (const Data data : kData) {
    for (const unsigned cols : {32u, 64u, 96u, 1024u, 1056u}) {
      for (const unsigned rows : {1u, 3u}) {
        for (const bool rectify : {false, true}) check_quantized(random_floats(random, data, rows * cols), rows, rectify);
      }
    }
  }
}

TEST(blocks_at_the_ends_of_the_range_are_the_cpus_bits) {
  const float most = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
  Random random(2);
  for (const float largest : {most, kLeastQuantized, std::nextafter(kLeastQuantized, 0.0f), infinity, NAN}) {
    for (const float sign : {1.0f, -1.0f}) {
      for (size_t at = 0; at < kBlock; ++at) {
        std::vector<float> x(3 * kBlock, largest / -3);
        x[kBlock + at] = sign * largest;
        for (const bool rectify : {false, true}) check_quantized(x, 1, rectify);
        std::vector<float> ordinary = random_floats(random, Data::random, 3 * kBlock);
        ordinary[kBlock + at] = sign * largest;
        for (const bool rectify : {false, true}) check_quantized(ordinary, 1, rectify);
      }
    }
  }
}

TEST(ties_are_rounded_to_even) {
  std::vector<float> x(kBlock);
  for (size_t i = 0; i < kBlock; ++i) x[i] = static_cast<float>(i) - 16.5f;
  x[0] = 127;
  check_quantized(x, 1, false);
}

struct Kind {
  Norm norm;
  bool weight, bias;
};
constexpr Kind kKinds[] = {
    {Norm::rms, true, false}, {Norm::layer, true, true}, {Norm::layer, true, false}, {Norm::layer, false, true},
    {Norm::layer, false, false}};

ModelShape shape_of(Norm norm, unsigned cols, float epsilon) {
  ModelShape shape{};
  shape.embd = cols;
  shape.norm = norm;
  shape.norm_epsilon = epsilon;
  return shape;
}

void check_norm(Random& random, const Kind& kind, Data data, unsigned rows, unsigned cols, bool quantize) {
  const std::vector<float> values = random_floats(random, data, size_t{rows} * cols);
  const std::vector<float> scales = random_floats(random, Data::random, cols);
  const std::vector<float> terms = random_floats(random, Data::random, cols);
  const ModelShape shape = shape_of(kind.norm, cols, 1e-5f);

  std::vector<float> expected(values.size());
  ThreadPool pool(1, {});
  const auto given = [](bool wanted, const std::vector<float>& floats) {
    return wanted ? reinterpret_cast<const std::byte*>(floats.data()) : nullptr;
  };
  normalize({pool, fusing_kernels()}, shape, {given(kind.weight, scales), given(kind.bias, terms)}, values.data(), rows,
            expected.data());

  CardMemory<float> x(values), weight(scales), bias(terms), y(values.size());
  CardMemory<Q8Activation> blocks(quantize ? values.size() / kBlock : 0);
  const cuda::CardNorm norm{kind.weight ? weight.data() : nullptr, kind.bias ? bias.data() : nullptr};
  cuda::normalize(nullptr, shape, norm, x.data(), rows, y.data(), quantize ? blocks.data() : nullptr);
  for (size_t i = 0; i < expected.size(); ++i) {
    if (same_value(y[i], expected[i])) continue;
    fail(__FILE__, __LINE__, rows, " rows of ", cols, ", element ", i, ": ", y[i], " instead of ", expected[i]);
  }
  if (quantize) check_blocks(blocks, quantized_by_cpu(expected));
}

TEST(norms_are_the_cpus_bits) {
  if (!fuses(fusing_kernels())) return;
  Random random(3);
  for (const Kind& kind : kKinds) {
    for (const Data data : kData) {
      for (const unsigned cols : {1u, 15u, 16u, 31u, 33u, 127u, 1000u, 4095u, 4096u, 4097u, 9001u}) {
        check_norm(random, kind, data, 1, cols, false);
      }
      for (const unsigned cols : {32u, 96u, 1024u, 4096u, 5120u}) check_norm(random, kind, data, 1, cols, true);
      for (const unsigned rows : {2u, 3u, 8u, 9u, 33u}) check_norm(random, kind, data, rows, 96, rows % 2 != 0);
    }
  }
}

// In doubles, from the definition. A row far from 0 tells a variance about the mean from one that cancels.
TEST(layer_norms_are_what_they_are_called) {
  constexpr unsigned kCols = 1000;
  constexpr double kEpsilon = 1e-5;
  Random random(4);
  for (const float offset : {0.0f, -3.0f, 1000.0f}) {
    std::vector<float> x = random_floats(random, Data::random, kCols);
    for (float& value : x) value += offset;
    const std::vector<float> weight = random_floats(random, Data::random, kCols);
    const std::vector<float> bias = random_floats(random, Data::random, kCols);
    double mean = 0, variance = 0;
    for (const float value : x) mean += value / double{kCols};
    for (const float value : x) variance += (value - mean) * (value - mean) / kCols;
    for (const Kernels* kernels : instruction_sets()) {
      std::vector<float> y(kCols);
      ThreadPool pool(1, {});
      normalize({pool, *kernels}, shape_of(Norm::layer, kCols, kEpsilon),
                {reinterpret_cast<const std::byte*>(weight.data()), reinterpret_cast<const std::byte*>(bias.data())},
                x.data(), 1, y.data());
      const double limit = 1e-5 * (1 + std::abs(offset));
      for (unsigned i = 0; i < kCols; ++i) {
        const double expected = (x[i] - mean) / std::sqrt(variance + kEpsilon) * weight[i] + bias[i];
        if (std::abs(y[i] - expected) <= limit) continue;
        fail(__FILE__, __LINE__, name_of(kernels->instruction_set), ", element ", i, " of a row about ", offset, ": ",
             y[i], " instead of ", expected);
      }
    }
  }
}

TEST(a_row_that_holds_no_number_does_not_touch_the_others) {
  CardMemory<float> x(std::vector<float>(3 * kBlock, 1)), weight(std::vector<float>(kBlock, 1)), y(3 * kBlock);
  CardMemory<Q8Activation> blocks(3);
  x[kBlock + 5] = NAN;
  cuda::normalize(nullptr, shape_of(Norm::rms, kBlock, 0), {weight.data(), nullptr}, x.data(), 3, y.data(), blocks.data());
  for (size_t i = 0; i < 3 * kBlock; ++i) CHECK_EQ(std::isnan(y[i]), i / kBlock == 1);
  for (size_t r = 0; r < 3; ++r) CHECK_EQ(std::isnan(blocks[r].scale), r == 1);
}

}  // namespace
}  // namespace thermocline
