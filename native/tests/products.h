// What products of rows must be: to the bit for quantized weights, within what rounding explains for all.
#pragma once

#include <cmath>
#include <iostream>

#include "instruction_sets.h"
#include "weight_rows.h"

namespace thermocline::test {

template <typename Number>
bool same_bits(Number a, Number b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

template <typename Number>
bool same_numbers(const std::vector<Number>& a, const std::vector<Number>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!same_bits(a[i], b[i])) return false;
  }
  return true;
}

template <typename Number>
constexpr bool is_f64 = sizeof(Number) == sizeof(double);

// The sum that kernels.h promises for quantized weights, in Numbers.
template <typename Number>
Number promised_product(WeightType type, const Bytes& row, const Bytes& x, size_t cols) {
  Number sum = 0;
  for (size_t start = 0; start < cols; start += kBlock) {
    int integer = 0, quants = 0;
    StoredWeight weight;
    for (size_t i = start; i < start + kBlock; ++i) {
      weight = stored_at(type, row, i);
      const auto quant = static_cast<int>(activation_quant_at(type, x, i));
      integer += weight.scale * static_cast<int>(weight.quant) * quant;
      quants += quant;
    }
    float inner = weight.d * static_cast<float>(integer);
    if (has_minimums(type)) inner = inner - weight.minimum_d * static_cast<float>(weight.minimum * quants);
    const float term = activation_scale_at(type, x, start) * inner;
    sum += term;
  }
  return sum;
}

// A product in double precision, and how far from it sums in f32 and in f64 may end up.
struct Product {
  double exact = 0;
  double f32_bound = 0;
  double f64_bound = 0;
};

inline Product product_of(WeightType type, const Bytes& row, const Bytes& x, size_t cols) {
  constexpr double kLanes = 16;
  Product product;
  double magnitude = 0, vanished = 0;
  for (size_t i = 0; i < cols; ++i) {
    const StoredWeight weight = stored_at(type, row, i);
    const double scale = activation_scale_at(type, x, i);
    const double activation = scale * activation_quant_at(type, x, i);
    product.exact += weight.value() * activation;
    magnitude += (std::abs(weight.product()) + std::abs(weight.offset())) * std::abs(activation);
    // A product that comes out subnormal is off by half the least subnormal; the activations' scale multiplies those of
    // the weights' scales, of which there are two at most.
    if (!wants_quantized_activation(type)) {
      vanished += kLeastSubnormal / 2;
    } else if (i % kBlock == 0) {
      vanished += kLeastSubnormal * (std::abs(scale) + 0.5);
    }
  }
  if (magnitude == 0) return product;
  const bool blocks = wants_quantized_activation(type);
  const auto columns = static_cast<double>(cols);
  // On a float's way into the sum: its own product, its lane's additions, four of lanes. On a block's: the products of
  // the weights' scales, their difference, the product with the activations' scale, the additions.
  const double products = blocks ? 3 : 1;
  const double additions = blocks ? columns / kBlock : std::ceil(columns / kLanes) + 4;
  const double exact_error = f64_error(columns + 2) * magnitude;
  product.f32_bound = f32_error(products + additions) * magnitude + vanished + exact_error;
  product.f64_bound = f32_error(products) * magnitude + f64_error(additions + 1) * magnitude + vanished + exact_error;
  return product;
}

template <typename Number>
void check_product(const Kernels& kernels, WeightType type, size_t cols, Number actual, const Product& expected) {
  const double bound = is_f64<Number> ? expected.f64_bound : expected.f32_bound;
  if (std::abs(actual - expected.exact) <= bound) return;
  std::cerr << name_of(kernels.instruction_set) << (is_f64<Number> ? " f64" : " f32") << " product of " << cols << ' '
            << name_of(type) << " is " << actual << ", expected " << expected.exact << " within " << bound << std::endl;
  CHECK(false);
}

}  // namespace thermocline::test
