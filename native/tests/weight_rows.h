// Rows of every weight type and of activations, seeded, and the numbers they stand for. Formats are read here one
// element at a time, by code that shares nothing with the kernels'.
#pragma once

#include <cstring>
#include <vector>

#include "../kernels/half.h"
#include "../kernels/kernels.h"
#include "check.h"
#include "kernel_data.h"

namespace thermocline::test {

using Bytes = std::vector<uint8_t>;

inline constexpr WeightType kTypes[] = {WeightType::f32,  WeightType::f16,  WeightType::q8_0, WeightType::q4_0,
                                        WeightType::bf16, WeightType::q4_k, WeightType::q5_k, WeightType::q6_k};
inline constexpr WeightType kPanelTypes[] = {WeightType::q8_0, WeightType::q4_0, WeightType::q4_k, WeightType::q5_k,
                                             WeightType::q6_k};

inline size_t index_of(WeightType type) { return static_cast<size_t>(type); }
inline bool has_minimums(WeightType type) { return type == WeightType::q4_k || type == WeightType::q5_k; }

// The least number of columns from which a row can be divided for products with activations of its kind.
inline size_t columns_that_stay_together(WeightType type) {
  return block_elements(type) > kBlock ? block_elements(type) : kBlock;
}

// Lengths of rows that reach every path through a kernel.
inline std::vector<size_t> lengths(WeightType type) {
  const size_t step = block_elements(type);
  const size_t most = step == 1 ? 130 : step == kBlock ? 512 : 1024;
  std::vector<size_t> all;
  for (size_t cols = 0; cols <= most; cols += step) all.push_back(cols);
  return all;
}

// Where a block has its halves (every other byte of it may hold any value): its scale d, and its minimums' scale.
struct Halves {
  size_t d, minimum_d;
};
inline Halves halves_of(WeightType type) {
  if (has_minimums(type)) return {0, 2};
  return type == WeightType::q6_k ? Halves{208, 208} : Halves{0, 0};
}
inline size_t block_bytes(WeightType type) { return row_bytes(type, block_elements(type)); }

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
void append(Bytes& bytes, T value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), from, from + sizeof value);
}

template <typename T>
void put_at(Bytes& bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

template <typename T>
T value_at(const Bytes& bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

inline Bytes random_row(Random& random, WeightType type, Data data, size_t cols) {
  Bytes row;
  if (type == WeightType::f32) {
    for (size_t i = 0; i < cols; ++i) append(row, random_float(random, data));
  } else if (type == WeightType::f16) {
    for (size_t i = 0; i < cols; ++i) append(row, random_half(random, data));
  } else if (type == WeightType::bf16) {
    for (size_t i = 0; i < cols; ++i) {
      append(row, static_cast<uint16_t>(std::bit_cast<uint32_t>(random_float(random, data)) >> 16));
    }
  } else {
    const Halves halves = halves_of(type);
    for (size_t block = 0; block < cols / block_elements(type); ++block) {
      for (size_t j = 0; j < block_bytes(type); ++j) append(row, static_cast<uint8_t>(random_bits(random)));
      const size_t start = row.size() - block_bytes(type);
      for (const size_t half : {halves.d, halves.minimum_d}) put_at(row, start + half, random_half(random, data));
    }
  }
  CHECK_EQ(row.size(), row_bytes(type, cols));
  return row;
}

// Appends a block of quantized activations, with the sums that belong to its quants.
inline void append_activation_block(Bytes& x, float scale, const int8_t (&quants)[kBlock]) {
  append(x, scale);
  for (const size_t first : {size_t{0}, kBlock / 2}) {
    int sum = 0;
    for (size_t i = first; i < first + kBlock / 2; ++i) sum += quants[i];
    append(x, static_cast<int16_t>(sum));
  }
  for (const int8_t quant : quants) append(x, quant);
}

inline size_t activation_bytes(WeightType type, size_t cols) {
  return wants_quantized_activation(type) ? cols / kBlock * sizeof(Q8Activation) : cols * sizeof(float);
}

inline Bytes random_activation(Random& random, WeightType type, Data data, size_t cols) {
  Bytes x;
  if (!wants_quantized_activation(type)) {
    for (size_t i = 0; i < cols; ++i) append(x, random_float(random, data));
    return x;
  }
  for (size_t block = 0; block < cols / kBlock; ++block) {
    const float scale = random_float(random, data);
    int8_t quants[kBlock];
    for (int8_t& quant : quants) quant = static_cast<int8_t>(static_cast<int>(random_bits(random) % 255) - 127);
    append_activation_block(x, scale, quants);
  }
  return x;
}

inline std::vector<Bytes> random_rows(Random& random, WeightType type, Data data, size_t cols, size_t count) {
  std::vector<Bytes> rows;
  for (size_t i = 0; i < count; ++i) rows.push_back(random_row(random, type, data, cols));
  return rows;
}

inline std::vector<Bytes> random_activations(Random& random, WeightType type, Data data, size_t cols, size_t count) {
  std::vector<Bytes> xs;
  for (size_t i = 0; i < count; ++i) xs.push_back(random_activation(random, type, data, cols));
  return xs;
}

// A weight as its row stores it: d * scale * quant - minimum_d * minimum.
struct StoredWeight {
  float d = 1;
  int scale = 1;
  float quant = 0;
  float minimum_d = 0;
  int minimum = 0;

  double product() const { return static_cast<double>(d) * scale * quant; }
  double offset() const { return static_cast<double>(minimum_d) * minimum; }
  double value() const { return product() - offset(); }
};

// Q4_K and Q5_K: sub-block s's scale has its low four bits in nibble s of bytes 8..11 or, as long as s < 4, all six in
// byte s; what is left of bytes 0..3 are the scales' missing pairs of bits, of bytes 4..7 the minimums'.
inline void read_scale_and_minimum(const uint8_t* twelve, size_t s, StoredWeight& weight) {
  if (s < 4) {
    weight.scale = twelve[s] % 64;
    weight.minimum = twelve[4 + s] % 64;
  } else {
    weight.scale = twelve[4 + s] % 16 + twelve[s - 4] / 64 * 16;
    weight.minimum = twelve[4 + s] / 16 + twelve[s] / 64 * 16;
  }
}

inline StoredWeight stored_in_block(WeightType type, const uint8_t* block, size_t i) {
  const auto half = [&](size_t offset) {
    return from_f16(static_cast<uint16_t>(block[offset] | block[offset + 1] << 8));
  };
  StoredWeight weight;
  weight.d = half(halves_of(type).d);
  int quant = 0;
  if (type == WeightType::q8_0) {
    quant = static_cast<int8_t>(block[2 + i]);
  } else if (type == WeightType::q4_0) {
    const int both = block[2 + i % 16];
    quant = (i < 16 ? both % 16 : both / 16) - 8;
  } else if (type == WeightType::q6_k) {
    const size_t quarter = i % 128 / 32;
    const int both = block[i / 128 * 64 + i % 64];
    const int four = quarter < 2 ? both % 16 : both / 16;
    const int two = block[128 + i / 128 * 32 + i % 32] >> 2 * quarter & 3;
    quant = four + 16 * two - 32;
    weight.scale = static_cast<int8_t>(block[192 + i / 16]);
  } else {
    const size_t low = type == WeightType::q4_k ? 16 : 48;
    const int both = block[low + i / 64 * 32 + i % 32];
    quant = i % 64 < 32 ? both % 16 : both / 16;
    if (type == WeightType::q5_k) quant += 16 * (block[16 + i % 32] >> i / 32 & 1);
    weight.minimum_d = half(2);
    read_scale_and_minimum(block + 4, i / 32, weight);
  }
  weight.quant = static_cast<float>(quant);
  return weight;
}

inline StoredWeight stored_at(WeightType type, const Bytes& row, size_t i) {
  StoredWeight weight;
  switch (type) {
    case WeightType::f32: weight.quant = value_at<float>(row, 4 * i); return weight;
    case WeightType::f16: weight.quant = from_f16(value_at<uint16_t>(row, 2 * i)); return weight;
    case WeightType::bf16: weight.quant = from_bf16(value_at<uint16_t>(row, 2 * i)); return weight;
    default: break;
  }
  const size_t elements = block_elements(type);
  return stored_in_block(type, row.data() + i / elements * block_bytes(type), i % elements);
}

// An activation's scale (1 where there are none) and what it multiplies.
inline float activation_scale_at(WeightType type, const Bytes& x, size_t i) {
  return wants_quantized_activation(type) ? value_at<float>(x, i / kBlock * sizeof(Q8Activation)) : 1.0f;
}
inline float activation_quant_at(WeightType type, const Bytes& x, size_t i) {
  if (!wants_quantized_activation(type)) return value_at<float>(x, 4 * i);
  const size_t block = i / kBlock * sizeof(Q8Activation);
  return value_at<int8_t>(x, block + offsetof(Q8Activation, quants) + i % kBlock);
}

}  // namespace thermocline::test
