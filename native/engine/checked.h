// Arithmetic on sizes that come from a plan: a product that leaves 64 bits is the plan's fault, not a small number.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "../error.h"

namespace thermocline {

inline uint64_t checked_product(std::initializer_list<uint64_t> factors) {
  uint64_t product = 1;
  for (const uint64_t factor : factors) {
    if (__builtin_mul_overflow(product, factor, &product)) {
      throw Error(ErrorCode::invalid_argument, "the sizes of this plan multiply to more than 64 bits can count");
    }
  }
  return product;
}

inline uint64_t checked_sum(uint64_t a, uint64_t b) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) {
    throw Error(ErrorCode::invalid_argument, "the sizes of this plan add up to more than 64 bits can count");
  }
  return sum;
}

}  // namespace thermocline
