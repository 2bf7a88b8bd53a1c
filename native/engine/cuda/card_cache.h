// Keys and values on the card, laid out as kv_cache.h says.
#pragma once

#include "target.h"

namespace thermocline::cuda {

struct CardCache {
  uint16_t* data;  // at a multiple of 16
  unsigned layers, kv_heads, positions, head_dim;

  // The first position's key or value of a head; those of the next positions follow.
  THERMOCLINE_DEVICE uint16_t* keys(unsigned slot, unsigned layer, unsigned kv_head) const {
    return head(slot, layer, 0, kv_head);
  }
  THERMOCLINE_DEVICE uint16_t* values(unsigned slot, unsigned layer, unsigned kv_head) const {
    return head(slot, layer, 1, kv_head);
  }

 private:
  THERMOCLINE_DEVICE uint16_t* head(unsigned slot, unsigned layer, unsigned value, unsigned kv_head) const {
    return data + (((size_t{slot} * layers + layer) * 2 + value) * kv_heads + kv_head) * positions * head_dim;
  }
};

// Two halves of a word, the first in its low bits.
THERMOCLINE_DEVICE float first_half(uint32_t word) { return half_to_float(static_cast<uint16_t>(word & 0xffff)); }
THERMOCLINE_DEVICE float second_half(uint32_t word) { return half_to_float(static_cast<uint16_t>(word >> 16)); }

}  // namespace thermocline::cuda
