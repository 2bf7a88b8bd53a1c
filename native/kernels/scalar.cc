// Plain C++ for any CPU: what one without AVX2 runs, and the yardstick of the other instruction sets.
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "blocks.h"
#include "half.h"
#include "instruction_sets.h"

namespace thermocline {
namespace {

// Independent partial sums: as many as two SSE registers hold.
constexpr size_t kLanes = 8;

// Everything goes through load and store because pointers may be misaligned.
template <typename T>
T load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void store(T value, uint8_t* to) {
  std::memcpy(to, &value, sizeof value);
}

const uint8_t* bytes_of(const void* data) { return static_cast<const uint8_t*>(data); }

float load_f32(const uint8_t* row, size_t index) { return load<float>(row + sizeof(float) * index); }

// Adds in the precision of the row.
template <typename Number>
void add_to(Number* row, size_t index, float value) {
  uint8_t* at = reinterpret_cast<uint8_t*>(row) + sizeof(Number) * index;
  store(load<Number>(at) + value, at);
}

struct F32 {
  static float at(const uint8_t* row, size_t index) { return load_f32(row, index); }
};

struct F16 {
  static float at(const uint8_t* row, size_t index) { return from_f16(load<uint16_t>(row + sizeof(uint16_t) * index)); }
};

// Products are f32, their sums Numbers.
template <typename Element, typename Number>
Number dot(const void* weights, const void* x, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  const uint8_t* v = bytes_of(x);
  Number sums[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= cols; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += Element::at(w, i + lane) * load_f32(v, i + lane);
  }
  for (size_t lane = 0; i < cols; ++i, ++lane) sums[lane] += Element::at(w, i) * load_f32(v, i);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

template <typename Element, typename Number>
void add_scaled(float scale, const void* weights, Number* y, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  for (size_t i = 0; i < cols; ++i) add_to(y, i, scale * Element::at(w, i));
}

struct Q8_0 {
  static constexpr size_t kBytes = kQ8_0BlockBytes;
  static void unpack(const uint8_t* block, int8_t* quants) { std::memcpy(quants, block + kWeightQuants, kBlock); }
};

struct Q4_0 {
  static constexpr size_t kBytes = kQ4_0BlockBytes;
  static void unpack(const uint8_t* block, int8_t* quants) {
    for (size_t j = 0; j < kBlock / 2; ++j) {
      const uint8_t packed = block[kWeightQuants + j];
      quants[j] = static_cast<int8_t>((packed & 0x0f) - 8);
      quants[j + kBlock / 2] = static_cast<int8_t>((packed >> 4) - 8);
    }
  }
};

template <typename Block, typename Number>
Number dot_blocks(const void* weights, const void* x, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  const uint8_t* v = bytes_of(x);
  Number sum = 0;
  for (size_t i = 0; i < cols; i += kBlock, w += Block::kBytes, v += kActivationBytes) {
    int8_t w_quants[kBlock], x_quants[kBlock];
    Block::unpack(w, w_quants);
    std::memcpy(x_quants, v + kActivationQuants, kBlock);
    int32_t products = 0;
    for (size_t j = 0; j < kBlock; ++j) products += w_quants[j] * x_quants[j];
    sum += from_f16(load<uint16_t>(w)) * load<float>(v) * static_cast<float>(products);
  }
  return sum;
}

template <typename Block, typename Number>
void add_scaled_blocks(float scale, const void* weights, Number* y, size_t cols) {
  const uint8_t* w = bytes_of(weights);
  for (size_t i = 0; i < cols; i += kBlock, w += Block::kBytes) {
    int8_t quants[kBlock];
    Block::unpack(w, quants);
    const float block_scale = scale * from_f16(load<uint16_t>(w));
    for (size_t j = 0; j < kBlock; ++j) add_to(y, i + j, block_scale * static_cast<float>(quants[j]));
  }
}

// Bits of |x|. They are ordered as the numbers are, with infinity and then the NaNs above all others.
uint32_t magnitude_bits(float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; }

void quantize_block(const uint8_t* x, uint8_t* y) {
  uint32_t largest_bits = 0;
  for (size_t j = 0; j < kBlock; ++j) {
    const uint32_t bits = magnitude_bits(load_f32(x, j));
    if (bits > largest_bits) largest_bits = bits;
  }
  const float largest = std::bit_cast<float>(largest_bits);
  uint8_t* quants = y + kActivationQuants;
  if (largest < kLeastQuantized || !std::isfinite(largest)) {
    store(std::isfinite(largest) ? 0.0f : std::numeric_limits<float>::quiet_NaN(), y);
    std::memset(quants, 0, kBlock);
    return;
  }
  store(largest / 127.0f, y);
  const float inverse = 127.0f / largest;
  for (size_t j = 0; j < kBlock; ++j) {
    quants[j] = static_cast<uint8_t>(static_cast<int8_t>(std::nearbyint(load_f32(x, j) * inverse)));
  }
}

void quantize(const float* x, Q8Activation* y, size_t cols) {
  const uint8_t* from = bytes_of(x);
  uint8_t* to = reinterpret_cast<uint8_t*>(y);
  for (size_t i = 0; i < cols; i += kBlock, to += kActivationBytes) quantize_block(from + sizeof(float) * i, to);
}

void to_f16_row(const float* x, uint16_t* y, size_t cols) {
  const uint8_t* from = bytes_of(x);
  uint8_t* to = reinterpret_cast<uint8_t*>(y);
  for (size_t i = 0; i < cols; ++i) store(to_f16(load_f32(from, i)), to + sizeof(uint16_t) * i);
}

}  // namespace

const Kernels kScalarKernels = {
    .instruction_set = InstructionSet::scalar,
    .dot = {dot<F32, float>, dot<F16, float>, dot_blocks<Q8_0, float>, dot_blocks<Q4_0, float>},
    .add_scaled = {add_scaled<F32, float>, add_scaled<F16, float>,
                   add_scaled_blocks<Q8_0, float>, add_scaled_blocks<Q4_0, float>},
    .wide_dot = {dot<F32, double>, dot<F16, double>, dot_blocks<Q8_0, double>, dot_blocks<Q4_0, double>},
    .accumulate = {add_scaled<F32, double>, add_scaled<F16, double>,
                   add_scaled_blocks<Q8_0, double>, add_scaled_blocks<Q4_0, double>},
    .quantize = quantize,
    .to_f16 = to_f16_row,
};

}  // namespace thermocline
