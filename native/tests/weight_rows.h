// Rows of every weight type and of activations, seeded, and the numbers they stand for.
#pragma once

#include <cstring>
#include <vector>

#include "../kernels/half.h"
#include "../kernels/kernels.h"
#include "check.h"
#include "kernel_data.h"

namespace thermocline::test {

inline constexpr WeightType kTypes[] = {WeightType::f32, WeightType::f16, WeightType::q8_0, WeightType::q4_0};

// Lengths of rows that reach every path through a kernel.
inline std::vector<size_t> lengths(WeightType type) {
  std::vector<size_t> all;
  const bool blocks = wants_quantized_activation(type);
  for (size_t cols = 0; cols <= (blocks ? 512u : 130u); cols += blocks ? kBlock : 1) all.push_back(cols);
  return all;
}

inline uint16_t random_half(Random& random, Data data) {
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

inline std::vector<uint8_t> random_row(Random& random, WeightType type, Data data, size_t cols) {
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

inline std::vector<uint8_t> random_activation(Random& random, WeightType type, Data data, size_t cols) {
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

// A weight as its row stores it: a block's scale (1 where there are none) and what it multiplies.
struct StoredWeight {
  float scale, quant;
};

inline StoredWeight stored_at(WeightType type, const std::vector<uint8_t>& row, size_t i) {
  if (type == WeightType::f32) return {1, value_at<float>(row, 4 * i)};
  if (type == WeightType::f16) return {1, from_f16(value_at<uint16_t>(row, 2 * i))};
  const size_t j = i % kBlock;
  const size_t block = i / kBlock * (type == WeightType::q8_0 ? 34 : 18);
  const float scale = from_f16(value_at<uint16_t>(row, block));
  if (type == WeightType::q8_0) return {scale, static_cast<float>(value_at<int8_t>(row, block + 2 + j))};
  const uint8_t packed = row[block + 2 + j % 16];
  return {scale, static_cast<float>((j < 16 ? packed & 15 : packed >> 4) - 8)};
}

inline double weight_at(WeightType type, const std::vector<uint8_t>& row, size_t i) {
  const StoredWeight stored = stored_at(type, row, i);
  return static_cast<double>(stored.scale) * stored.quant;
}

inline double activation_at(WeightType type, const std::vector<uint8_t>& x, size_t i) {
  if (!wants_quantized_activation(type)) return value_at<float>(x, 4 * i);
  const size_t block = i / kBlock * sizeof(Q8Activation);
  return static_cast<double>(value_at<float>(x, block)) * value_at<int8_t>(x, block + 4 + i % kBlock);
}

// The largest magnitude of a stored weight before its block's scale is applied.
inline double largest_quant(WeightType type) {
  return type == WeightType::q8_0 ? 128 : type == WeightType::q4_0 ? 8 : 1;
}

}  // namespace thermocline::test
