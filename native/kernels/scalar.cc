// Plain C++ for any CPU: what one without AVX2 runs, and the yardstick of the other instruction sets.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "blocks.h"
#include "half.h"
#include "instruction_sets.h"
#include "sub_block.h"

namespace thermocline {
namespace {

// Float products are summed in as many lanes in every instruction set.

// Everything goes through load and store because pointers may be misaligned.
template <typename T>
T load(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void store(T value, void* to) {
  std::memcpy(to, &value, sizeof value);
}

template <typename T>
const uint8_t* at(const T* row, size_t index) {
  return reinterpret_cast<const uint8_t*>(row) + sizeof(T) * index;
}

template <typename T>
uint8_t* at(T* row, size_t index) {
  return reinterpret_cast<uint8_t*>(row) + sizeof(T) * index;
}

float load_f32(const uint8_t* row, size_t index) { return load<float>(row + sizeof(float) * index); }

const uint8_t* row_of(const Activations& x, size_t index) {
  return static_cast<const uint8_t*>(x.data) + index * x.stride;
}

template <typename Number>
void add_to(Number* row, size_t index, Number value) {
  store(static_cast<Number>(load<Number>(at(row, index)) + value), at(row, index));
}

struct F32 {
  static float at(const uint8_t* row, size_t index) { return load_f32(row, index); }
};
struct F16 {
  static float at(const uint8_t* row, size_t index) { return from_f16(load<uint16_t>(row + sizeof(uint16_t) * index)); }
};
struct BF16 {
  static float at(const uint8_t* row, size_t index) { return from_bf16(load<uint16_t>(row + sizeof(uint16_t) * index)); }
};

// Products are f32, their sums Numbers: a total is the lanes' sum, halved four times.
template <typename Element, typename Number>
Number dot_floats(const uint8_t* w, const uint8_t* x, size_t cols) {
  Number sums[kFloatLanes] = {};
  for (size_t i = 0; i < cols; ++i) sums[i % kFloatLanes] += Element::at(w, i) * load_f32(x, i);
  for (size_t half = kFloatLanes / 2; half > 0; half /= 2) {
    for (size_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
  }
  return sums[0];
}

// What 32 weights add to a product.
template <typename Format>
float term(const SubBlock& sub, const uint8_t* x) {
  int sums[2] = {0, 0};
  for (size_t i = 0; i < kBlock; ++i) {
    sums[i / (kBlock / 2)] += sub.quants[i] * static_cast<int8_t>(x[kActivationQuants + i]);
  }
  float value = sub.d * static_cast<float>(sub.scale[0] * sums[0] + sub.scale[1] * sums[1]);
  if (Format::kHasMinimum) {
    const int sum = load<int16_t>(x + kActivationSums) + load<int16_t>(x + kActivationSums + sizeof(int16_t));
    value = value - sub.minimum_d * static_cast<float>(sub.minimum * sum);
  }
  return load<float>(x) * value;
}

template <typename Format, typename Number>
Number dot_blocks(const uint8_t* w, const uint8_t* x, size_t cols) {
  Number sum = 0;
  for (size_t i = 0; i < cols; i += Format::kElements, w += Format::kBytes) {
    for (size_t sub = 0; sub < Format::kElements / kBlock; ++sub, x += kActivationBytes) {
      sum += term<Format>(Format::unpack(w, sub), x);
    }
  }
  return sum;
}

template <auto Dot, bool Add, typename Number>
void multiply_rows(const std::byte* const* rows, size_t count, const Activations& x, size_t cols, Number* y,
                   size_t y_stride) {
  for (size_t j = 0; j < x.count; ++j) {
    for (size_t i = 0; i < count; ++i) {
      const Number product = Dot(reinterpret_cast<const uint8_t*>(rows[i]), row_of(x, j), cols);
      if (Add) {
        add_to(y, j * y_stride + i, product);
      } else {
        store(product, at(y, j * y_stride + i));
      }
    }
  }
}

// Row `row`'s block out of a panel's.
template <typename Format>
void gather_block(const uint8_t* panel_block, size_t row, uint8_t* block) {
  block_formats::for_each_piece<Format>([&](size_t offset, size_t bytes) {
    std::memcpy(block + offset, panel_block + kPanelRows * offset + row * bytes, bytes);
  });
}

template <typename Format, bool Add, typename Number>
void multiply_panels(const Panels& panels, const Activations& x, size_t cols, Number* y, size_t y_stride) {
  constexpr size_t kSubs = Format::kElements / kBlock;
  for (size_t p = 0; p < panels.count; ++p) {
    const uint8_t* panel = reinterpret_cast<const uint8_t*>(panels.data) + p * panels.stride;
    for (size_t j = 0; j < x.count; ++j) {
      Number sums[kPanelRows] = {};
      for (size_t b = 0; b < cols / Format::kElements; ++b) {
        for (size_t r = 0; r < kPanelRows; ++r) {
          uint8_t block[Format::kBytes];
          gather_block<Format>(panel + b * kPanelRows * Format::kBytes, r, block);
          for (size_t sub = 0; sub < kSubs; ++sub) {
            sums[r] += term<Format>(Format::unpack(block, sub), row_of(x, j) + (b * kSubs + sub) * kActivationBytes);
          }
        }
      }
      for (size_t r = 0; r < kPanelRows; ++r) {
        const size_t to = j * y_stride + p * kPanelRows + r;
        if (Add) {
          add_to(y, to, sums[r]);
        } else {
          store(sums[r], at(y, to));
        }
      }
    }
  }
}

template <typename Element>
void accumulate_floats(const float* scales, const std::byte* const* rows, size_t count, double* y, size_t cols) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* w = reinterpret_cast<const uint8_t*>(rows[i]);
    for (size_t c = 0; c < cols; ++c) {
      const float product = scales[i] * Element::at(w, c);
      add_to(y, c, double{product});
    }
  }
}

// To kSumBits significant bits, halves away from 0. What is no number stays so.
float rounded(float value) {
  constexpr int kDropped = std::numeric_limits<float>::digits - kSumBits;
  if (!std::isfinite(value)) return value;
  const uint32_t bits = std::bit_cast<uint32_t>(value) + (1u << (kDropped - 1));
  return std::bit_cast<float>(bits >> kDropped << kDropped);
}

// What `count` rows of blocks add to 32 columns from c on.
template <typename Format>
void add_up_blocks(const float* scales, const std::byte* const* rows, size_t count, size_t c, double* sums) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* w = reinterpret_cast<const uint8_t*>(rows[i]);
    const SubBlock sub = Format::unpack(w + c / Format::kElements * Format::kBytes, c % Format::kElements / kBlock);
    const float minimum = rounded(scales[i] * (sub.minimum_d * static_cast<float>(sub.minimum)));
    for (size_t j = 0; j < kBlock; ++j) {
      const float scale = rounded(scales[i] * (sub.d * static_cast<float>(sub.scale[j / (kBlock / 2)])));
      sums[j] += double{scale} * sub.quants[j];
      if (Format::kHasMinimum) sums[j] -= double{minimum};
    }
  }
}

template <typename Format>
void accumulate_blocks(const float* scales, const std::byte* const* rows, size_t count, double* y, size_t cols) {
  for (size_t i = 0; i < count; i += kSumRows) {
    for (size_t c = 0; c < cols; c += kBlock) {
      double sums[kBlock] = {};
      add_up_blocks<Format>(scales + i, rows + i, std::min(kSumRows, count - i), c, sums);
      for (size_t j = 0; j < kBlock; ++j) add_to(y, c + j, sums[j]);
    }
  }
}

template <typename Element>
void dequantize_floats(const std::byte* row, float* y, size_t cols) {
  for (size_t c = 0; c < cols; ++c) store(Element::at(reinterpret_cast<const uint8_t*>(row), c), at(y, c));
}

template <typename Format>
void dequantize_blocks(const std::byte* row, float* y, size_t cols) {
  const uint8_t* w = reinterpret_cast<const uint8_t*>(row);
  for (size_t c = 0; c < cols; c += kBlock) {
    const SubBlock sub = Format::unpack(w + c / Format::kElements * Format::kBytes, c % Format::kElements / kBlock);
    const float minimum = sub.minimum_d * static_cast<float>(sub.minimum);
    for (size_t j = 0; j < kBlock; ++j) {
      float value = sub.d * static_cast<float>(sub.scale[j / (kBlock / 2)]) * static_cast<float>(sub.quants[j]);
      if (Format::kHasMinimum) value = value - minimum;
      store(value, at(y, c + j));
    }
  }
}

void add_scaled_rows_f16(const float* scales, const uint16_t* rows, size_t count, float* y, size_t cols) {
  for (size_t i = 0; i < count; ++i) {
    const uint8_t* row = at(rows, i * cols);
    for (size_t c = 0; c < cols; ++c) add_to(y, c, load_f32(at(scales, 0), i) * F16::at(row, c));
  }
}

void exp_minus(const float* x, float shift, float* y, size_t count) {
  for (size_t i = 0; i < count; ++i) store(std::exp(load<float>(at(x, i)) - shift), at(y, i));
}

void silu_times(const float* g, const float* u, float* y, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const float gate = load<float>(at(g, i));
    store(gate / (1.0f + std::exp(-gate)) * load<float>(at(u, i)), at(y, i));
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
  int8_t quants[kBlock] = {};
  float scale;
  if (largest < kLeastQuantized || !std::isfinite(largest)) {
    scale = std::isfinite(largest) ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  } else {
    scale = largest / 127.0f;
    const float inverse = 127.0f / largest;
    for (size_t j = 0; j < kBlock; ++j) quants[j] = static_cast<int8_t>(std::nearbyint(load_f32(x, j) * inverse));
  }
  int sums[2] = {0, 0};
  for (size_t j = 0; j < kBlock; ++j) sums[j / (kBlock / 2)] += quants[j];
  store(scale, y);
  for (size_t i = 0; i < 2; ++i) store(static_cast<int16_t>(sums[i]), y + kActivationSums + i * sizeof(int16_t));
  std::memcpy(y + kActivationQuants, quants, kBlock);
}

void quantize(const float* x, Q8Activation* y, size_t cols) {
  for (size_t i = 0; i < cols; i += kBlock) quantize_block(at(x, i), at(y, i / kBlock));
}

void to_f16_row(const float* x, uint16_t* y, size_t cols) {
  for (size_t i = 0; i < cols; ++i) store(to_f16(load<float>(at(x, i))), at(y, i));
}

using namespace block_formats;

template <typename Element>
constexpr auto kFloatRows = multiply_rows<dot_floats<Element, float>, false, float>;
template <typename Element>
constexpr auto kFloatRowsF64 = multiply_rows<dot_floats<Element, double>, true, double>;
template <typename Format>
constexpr auto kBlockRows = multiply_rows<dot_blocks<Format, float>, false, float>;
template <typename Format>
constexpr auto kBlockRowsF64 = multiply_rows<dot_blocks<Format, double>, true, double>;

}  // namespace

const Kernels kScalarKernels = {
    .instruction_set = InstructionSet::scalar,
    .multiply_rows = {kFloatRows<F32>, kFloatRows<F16>, kBlockRows<Q8_0>, kBlockRows<Q4_0>, kFloatRows<BF16>,
                      kBlockRows<Q4_K>, kBlockRows<Q5_K>, kBlockRows<Q6_K>},
    .multiply_panels = {nullptr, nullptr, multiply_panels<Q8_0, false, float>, multiply_panels<Q4_0, false, float>,
                        nullptr, multiply_panels<Q4_K, false, float>, multiply_panels<Q5_K, false, float>,
                        multiply_panels<Q6_K, false, float>},
    .add_rows_f64 = {kFloatRowsF64<F32>, kFloatRowsF64<F16>, kBlockRowsF64<Q8_0>, kBlockRowsF64<Q4_0>,
                     kFloatRowsF64<BF16>, kBlockRowsF64<Q4_K>, kBlockRowsF64<Q5_K>, kBlockRowsF64<Q6_K>},
    .add_panels_f64 = {nullptr, nullptr, multiply_panels<Q8_0, true, double>, multiply_panels<Q4_0, true, double>,
                       nullptr, multiply_panels<Q4_K, true, double>, multiply_panels<Q5_K, true, double>,
                       multiply_panels<Q6_K, true, double>},
    .accumulate = {accumulate_floats<F32>, accumulate_floats<F16>, accumulate_blocks<Q8_0>, accumulate_blocks<Q4_0>,
                   accumulate_floats<BF16>, accumulate_blocks<Q4_K>, accumulate_blocks<Q5_K>, accumulate_blocks<Q6_K>},
    .dequantize = {dequantize_floats<F32>, dequantize_floats<F16>, dequantize_blocks<Q8_0>, dequantize_blocks<Q4_0>,
                   dequantize_floats<BF16>, dequantize_blocks<Q4_K>, dequantize_blocks<Q5_K>, dequantize_blocks<Q6_K>},
    .add_scaled_rows_f16 = add_scaled_rows_f16,
    .exp_minus = exp_minus,
    .silu_times = silu_times,
    .quantize = quantize,
    .to_f16 = to_f16_row,
};

}  // namespace thermocline
