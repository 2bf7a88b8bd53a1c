// Dot products and scaled sums of every instruction set against double precision, on every length and misalignment.
#include "../kernels/kernels.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "../kernels/half.h"
#include "check.h"
#include "instruction_sets.h"
#include "kernel_data.h"
#include "placed.h"

namespace thermocline {
namespace {

using namespace test;

constexpr WeightType kTypes[] = {WeightType::f32, WeightType::f16, WeightType::q8_0, WeightType::q4_0};

std::vector<size_t> lengths(WeightType type) {
  std::vector<size_t> all;
  const bool blocks = wants_quantized_activation(type);
  for (size_t cols = 0; cols <= (blocks ? 512u : 130u); cols += blocks ? kBlock : 1) all.push_back(cols);
  return all;
}

uint16_t random_half(Random& random, Data data) {
  const uint32_t bits = random_bits(random);
  switch (data) {
    case Data::huge:  // from 32768 to 65504
      return static_cast<uint16_t>((bits & 0x8000u) | 0x7800u | (bits & 0x03ffu));
    case Data::subnormal:
      return static_cast<uint16_t>(bits & 0x83ffu);
    default:
      return to_f16(random_float(random, data));
  }
}

template <typename T>
void append(std::vector<uint8_t>& bytes, T value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

std::vector<uint8_t> random_row(Random& random, WeightType type, Data data, size_t cols) {
  std::vector<uint8_t> row;
  if (type == WeightType::f32) {
    for (size_t i = 0; i < cols; ++i) append(row, random_float(random, data));
  } else if (type == WeightType::f16) {
    for (size_t i = 0; i < cols; ++i) append(row, random_half(random, data));
  } else {
    for (size_t block = 0; block < cols / kBlock; ++block) {
      append(row, random_half(random, data));
      const size_t quant_bytes = row_bytes(type, kBlock) - sizeof(uint16_t);
      for (size_t j = 0; j < quant_bytes; ++j) append(row, static_cast<uint8_t>(random_bits(random)));
    }
  }
  CHECK_EQ(row.size(), row_bytes(type, cols));
  return row;
}

std::vector<uint8_t> random_activation(Random& random, WeightType type, Data data, size_t cols) {
  std::vector<uint8_t> x;
  if (!wants_quantized_activation(type)) {
    for (size_t i = 0; i < cols; ++i) append(x, random_float(random, data));
    return x;
  }
  for (size_t block = 0; block < cols / kBlock; ++block) {
    append(x, random_float(random, data));
    for (size_t j = 0; j < kBlock; ++j) {
      append(x, static_cast<int8_t>(static_cast<int>(random_bits(random) % 255) - 127));
    }
  }
  return x;
}

template <typename T>
T value_at(const std::vector<uint8_t>& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

double weight_at(WeightType type, const std::vector<uint8_t>& row, size_t i) {
  if (type == WeightType::f32) return value_at<float>(row, 4 * i);
  if (type == WeightType::f16) return from_f16(value_at<uint16_t>(row, 2 * i));
  const size_t j = i % kBlock;
  const size_t block = i / kBlock * (type == WeightType::q8_0 ? 34 : 18);
  const double scale = from_f16(value_at<uint16_t>(row, block));
  if (type == WeightType::q8_0) return scale * value_at<int8_t>(row, block + 2 + j);
  const uint8_t packed = row[block + 2 + j % 16];
  return scale * ((j < 16 ? packed & 15 : packed >> 4) - 8);
}

double activation_at(WeightType type, const std::vector<uint8_t>& x, size_t i) {
  if (!wants_quantized_activation(type)) return value_at<float>(x, 4 * i);
  const size_t block = i / kBlock * sizeof(Q8Activation);
  return static_cast<double>(value_at<float>(x, block)) * value_at<int8_t>(x, block + 4 + i % kBlock);
}

// The largest magnitude of a stored weight before its block's scale is applied.
double largest_quant(WeightType type) { return type == WeightType::q8_0 ? 128 : type == WeightType::q4_0 ? 8 : 1; }

TEST(rows_have_the_sizes_of_gguf) {
  CHECK_EQ(row_bytes(WeightType::f32, 96), 384u);
  CHECK_EQ(row_bytes(WeightType::f16, 96), 192u);
  CHECK_EQ(row_bytes(WeightType::q8_0, 96), 102u);
  CHECK_EQ(row_bytes(WeightType::q4_0, 96), 54u);
  for (WeightType type : kTypes) CHECK_EQ(row_bytes(type, 0), 0u);
}

TEST(each_set_has_its_own_kernels_and_the_best_come_last) {
  CHECK(kernels_for(InstructionSet::scalar)->instruction_set == InstructionSet::scalar);
  if (const Kernels* avx2 = kernels_for(InstructionSet::avx2)) CHECK(avx2->instruction_set == InstructionSet::avx2);
  CHECK(&best_kernels() == instruction_sets().back());
}

void check_dot(const Kernels& kernels, WeightType type, const std::vector<uint8_t>& row, const std::vector<uint8_t>& x,
               size_t cols) {
  const auto dot = kernels.dot[static_cast<size_t>(type)];
  double expected = 0, magnitude = 0;
  for (size_t i = 0; i < cols; ++i) {
    const double product = weight_at(type, row, i) * activation_at(type, x, i);
    expected += product;
    magnitude += std::abs(product);
  }
  // On a term's way into the sum, whatever the order: the product of its block's scales, its own product, and at most
  // as many additions as there are terms. A product that comes out subnormal is off by half the least subnormal at
  // most; if it is that of the scales, the quants multiply it.
  const auto terms = static_cast<double>(cols);
  const double quants = wants_quantized_activation(type) ? largest_quant(type) * 127 : 1;
  const double bound =
      (f32_error(terms + 2) + f64_error(terms)) * magnitude + (magnitude > 0 ? terms * quants * kLeastSubnormal : 0);

  std::vector<Placed> rows, xs;
  for (size_t misalignment = 0; misalignment < kMisalignments; ++misalignment) {
    rows.emplace_back(row.data(), row.size(), misalignment);
    xs.emplace_back(x.data(), x.size(), misalignment);
  }
  const float first = dot(rows[0].as<void>(), xs[0].as<void>(), cols);
  if (!(std::abs(first - expected) <= bound)) {
    std::cerr << name_of(kernels.instruction_set) << " dot of " << cols << ' ' << name_of(type) << " is " << first
              << ", expected " << expected << " within " << bound << std::endl;
    CHECK(false);
  }
  for (Placed& placed_row : rows) {
    for (Placed& placed_x : xs) {
      const float again = dot(placed_row.as<void>(), placed_x.as<void>(), cols);
      CHECK_EQ(std::bit_cast<uint32_t>(again), std::bit_cast<uint32_t>(first));
    }
  }
}

TEST(dots_are_right_on_every_length_and_misalignment) {
  Random random(1);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      for (size_t cols : lengths(type)) {
        for (Data data : kData) {
          check_dot(*kernels, type, random_row(random, type, data, cols), random_activation(random, type, data, cols),
                    cols);
          check_dot(*kernels, type, random_row(random, type, data, cols),
                    random_activation(random, type, Data::random, cols), cols);
          check_dot(*kernels, type, random_row(random, type, Data::random, cols),
                    random_activation(random, type, data, cols), cols);
        }
      }
    }
  }
}

// With scales of 1 a dot product is a sum of integers below 2^24, which f32 holds: no error at all is allowed.
TEST(integer_parts_are_exact) {
  Random random(2);
  const uint16_t one = to_f16(1.0f);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : {WeightType::q8_0, WeightType::q4_0}) {
      for (size_t cols : lengths(type)) {
        for (int weight_byte : {-1, 0x80, 0x7f, 0x00, 0xff, 0x0f, 0xf0}) {  // -1: random
          for (int x_quant : {-128, -127, 127, 0}) {                         // -128: random
            std::vector<uint8_t> row = random_row(random, type, Data::random, cols);
            std::vector<uint8_t> x = random_activation(random, type, Data::random, cols);
            const size_t stride = row_bytes(type, kBlock);
            for (size_t i = 0; i < row.size(); ++i) {
              if (i % stride < 2) {
                row[i] = static_cast<uint8_t>(i % stride == 0 ? one & 0xff : one >> 8);
              } else if (weight_byte >= 0) {
                row[i] = static_cast<uint8_t>(weight_byte);
              }
            }
            for (size_t i = 0; i < x.size(); i += sizeof(Q8Activation)) {
              const float scale = 1.0f;
              std::memcpy(x.data() + i, &scale, sizeof scale);
              if (x_quant > -128) std::memset(x.data() + i + sizeof scale, x_quant, kBlock);
            }
            double expected = 0;
            for (size_t i = 0; i < cols; ++i) expected += weight_at(type, row, i) * activation_at(type, x, i);
            const float actual = kernels->dot[static_cast<size_t>(type)](row.data(), x.data(), cols);
            CHECK_EQ(static_cast<double>(actual), expected);
          }
        }
      }
    }
  }
}

void check_add_scaled(const Kernels& kernels, WeightType type, float scale, const std::vector<uint8_t>& row,
                      const std::vector<float>& y) {
  const auto add_scaled = kernels.add_scaled[static_cast<size_t>(type)];
  const size_t bytes = y.size() * sizeof(float);
  std::vector<float> first = y;
  add_scaled(scale, row.data(), first.data(), y.size());
  for (size_t i = 0; i < y.size(); ++i) {
    const double product = scale * weight_at(type, row, i);
    const double expected = y[i] + product;
    // Roundings: of the block's scale, of the product, of the sum. The first two may come out subnormal.
    const double magnitude = std::abs(static_cast<double>(y[i])) + std::abs(product);
    const double bound = (f32_error(3) + f64_error(1)) * magnitude +
                         (product != 0 ? (largest_quant(type) + 1) * kLeastSubnormal : 0);
    if (!(std::abs(first[i] - expected) <= bound)) {
      std::cerr << name_of(kernels.instruction_set) << " add_scaled of " << y.size() << ' ' << name_of(type)
                << ": element " << i << " is " << first[i] << ", expected " << expected << " within " << bound
                << std::endl;
      CHECK(false);
    }
  }
  std::vector<Placed> ys;
  for (size_t misalignment = 0; misalignment < kMisalignments; ++misalignment) {
    ys.emplace_back(y.data(), bytes, misalignment);
  }
  for (size_t misalignment = 0; misalignment < kMisalignments; ++misalignment) {
    Placed placed_row(row.data(), row.size(), misalignment);
    for (Placed& placed_y : ys) {
      placed_y.assign(y.data());
      add_scaled(scale, placed_row.as<void>(), placed_y.as<float>(), y.size());
      CHECK(placed_y.holds(first.data()));
      CHECK(placed_y.guards_intact());
    }
    CHECK(placed_row.holds(row.data()));
  }
}

TEST(scaled_sums_are_right_on_every_length_and_misalignment) {
  Random random(3);
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      for (size_t cols : lengths(type)) {
        for (Data data : kData) {
          check_add_scaled(*kernels, type, random_float(random, data), random_row(random, type, data, cols),
                           random_floats(random, data, cols));
          check_add_scaled(*kernels, type, random_float(random, Data::random), random_row(random, type, data, cols),
                           random_floats(random, Data::random, cols));
          check_add_scaled(*kernels, type, random_float(random, data), random_row(random, type, Data::random, cols),
                           random_floats(random, data, cols));
        }
      }
    }
  }
}

}  // namespace
}  // namespace thermocline
