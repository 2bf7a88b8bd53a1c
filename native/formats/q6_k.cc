// Q6_K: blocks of 256 in sixteen parts of 16; element = d * scale * (quant - 32), with six-bit quants, a signed byte of
// scale for each part and the block's f16 number d. 128 bytes of low nibbles, 64 of upper bit pairs, the scales, d.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../kernels/blocks.h"
#include "../kernels/half.h"
#include "lanes.h"
#include "rows.h"

namespace thermocline::formats {
namespace {

constexpr size_t kParts = 16;
constexpr size_t kPart = kSuperBlock / kParts;
constexpr float kMost = 32;       // quants reach from -32 to 31
constexpr float kMostScale = 128;  // scales from -128 to 127
constexpr size_t kPairsAt = kSuperBlock / 2;
constexpr size_t kScalesAt = kPairsAt + kSuperBlock / 4;
constexpr size_t kUnitAt = kScalesAt + kParts;

// Elements that lie in one run of nibbles and bit pairs, a fourth of them at each place of a byte pair.
constexpr size_t kHalf = kSuperBlock / 2;
constexpr size_t kQuarter = kHalf / 4;

// What ggml takes for zero.
constexpr float kLeast = 1e-15f;

Lanes quant_of(Lanes x, Lanes density) { return nearest_within(x * density, -kMost, kMost - 1); }

// Of four parts, with their elements' squares as weights: the sums that a scale follows from.
struct Sums {
  Lanes products = all_lanes(0);
  Lanes squares = all_lanes(0);

  Sums(const Lanes (&x)[kPart], Lanes density) {
    for (size_t i = 0; i < kPart; ++i) {
      const Lanes quant = quant_of(x[i], density);
      const Lanes weight = x[i] * x[i];
      products += weight * x[i] * quant;
      squares += weight * quant * quant;
    }
  }
};

// Parts `first` to `first + 3`: the scales that fit their elements best, and quants from 0 to 63. The extreme element
// becomes -32; other densities are tried around that, up to 0.9 quants more or less.
void fit_parts(const float* from, size_t first, float (&scales)[kParts], uint8_t (&quants)[kSuperBlock]) {
  constexpr int kTries = 9;
  Lanes x[kPart];
  spread(from + first * kPart, x);
  Lanes extreme = all_lanes(0);
  for (size_t i = 0; i < kPart; ++i) extreme = select(magnitude(x[i]) > magnitude(extreme), x[i], extreme);
  const LaneMask zero = magnitude(extreme) < all_lanes(kLeast);

  Lanes density = all_lanes(-kMost) / extreme;
  const Sums sums(x, density);
  const LaneMask some = sums.squares > all_lanes(0);
  Lanes scale = select(some, sums.products / sums.squares, all_lanes(0));
  Lanes best = scale * sums.products;
  for (int i = -kTries; i <= kTries; ++i) {
    if (i == 0) continue;
    const Lanes other = all_lanes(-(kMost + 0.1f * static_cast<float>(i))) / extreme;
    const Sums tried(x, other);
    const LaneMask better = (tried.squares > all_lanes(0)) & (tried.products * tried.products > best * tried.squares);
    const Lanes its_scale = tried.products / tried.squares;
    density = select(better, other, density);
    scale = select(better, its_scale, scale);
    best = select(better, its_scale * tried.products, best);
  }
  for (size_t p = 0; p < kLanes; ++p) scales[first + p] = zero[p] ? 0 : scale[p];
  for (size_t i = 0; i < kPart; ++i) {
    const Lanes quant = select(zero, all_lanes(-kMost), quant_of(x[i], density)) + all_lanes(kMost);
    for (size_t p = 0; p < kLanes; ++p) quants[(first + p) * kPart + i] = static_cast<uint8_t>(quant[p]);
  }
}

int scale_at(const uint8_t* block, size_t part) { return static_cast<int8_t>(block[kScalesAt + part]); }

// Quants once more, with the scales that the block really stores.
void requantize(const float* x, const uint8_t* block, uint8_t (&quants)[kSuperBlock]) {
  const float unit = from_f16(load16(block + kUnitAt));
  for (size_t p = 0; p < kParts; ++p) {
    const float step = unit * static_cast<float>(scale_at(block, p));
    if (step == 0) continue;
    for (size_t i = p * kPart; i < (p + 1) * kPart; i += kLanes) {
      const Lanes four{x[i], x[i + 1], x[i + 2], x[i + 3]};
      const Lanes nearest_quants = nearest_within(four / all_lanes(step), -kMost, kMost - 1) + all_lanes(kMost);
      for (size_t k = 0; k < kLanes; ++k) quants[i + k] = static_cast<uint8_t>(nearest_quants[k]);
    }
  }
}

void pack(const uint8_t (&quants)[kSuperBlock], uint8_t* block) {
  for (size_t half = 0; half < 2; ++half) {
    const uint8_t* q = quants + half * kHalf;
    uint8_t* nibbles = block + half * kHalf / 2;
    uint8_t* pairs = block + kPairsAt + half * kHalf / 4;
    for (size_t i = 0; i < 2 * kQuarter; ++i) {
      nibbles[i] = static_cast<uint8_t>((q[i] & 0x0f) | q[i + 2 * kQuarter] << 4);
    }
    for (size_t i = 0; i < kQuarter; ++i) {
      pairs[i] = static_cast<uint8_t>(q[i] >> 4 | q[i + kQuarter] >> 4 << 2 | q[i + 2 * kQuarter] >> 4 << 4 |
                                      q[i + 3 * kQuarter] >> 4 << 6);
    }
  }
}

}  // namespace

void quantize_q6_k(const float* x, uint8_t* row, size_t cols) {
  float scales[kParts];
  uint8_t quants[kSuperBlock];
  for (; cols > 0; cols -= kSuperBlock, x += kSuperBlock, row += kQ6_KBlockBytes) {
    for (size_t first = 0; first < kParts; first += kLanes) fit_parts(x, first, scales, quants);
    float extreme = 0;
    for (const float scale : scales) {
      if (std::fabs(scale) > std::fabs(extreme)) extreme = scale;
    }
    if (std::fabs(extreme) < kLeast) {
      std::memset(row, 0, kQ6_KBlockBytes);
      continue;
    }
    const float inverse = -kMostScale / extreme;
    store16(to_f16(1 / inverse), row + kUnitAt);
    for (size_t p = 0; p < kParts; ++p) {
      const float count = nearest_within(all_lanes(inverse * scales[p]), -kMostScale, kMostScale - 1)[0];
      row[kScalesAt + p] = static_cast<uint8_t>(static_cast<int8_t>(count));
    }
    requantize(x, row, quants);
    pack(quants, row);
  }
}

void dequantize_q6_k(const uint8_t* row, float* x, size_t cols) {
  for (; cols > 0; cols -= kSuperBlock, x += kSuperBlock, row += kQ6_KBlockBytes) {
    const float unit = from_f16(load16(row + kUnitAt));
    for (size_t i = 0; i < kSuperBlock; ++i) {
      const size_t half = i / kHalf;
      const size_t place = i % kHalf;
      const int nibbles = row[half * kHalf / 2 + place % (2 * kQuarter)];
      const int pairs = row[kPairsAt + half * kHalf / 4 + place % kQuarter];
      const int low = place < 2 * kQuarter ? nibbles & 0x0f : nibbles >> 4;
      const int high = pairs >> (2 * (place / kQuarter)) & 3;
      x[i] = unit * static_cast<float>(scale_at(row, i / kPart)) * static_cast<float>((low | high << 4) - 32);
    }
  }
}

}  // namespace thermocline::formats
