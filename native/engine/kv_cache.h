// Keys and values of every slot, in half precision: [slot][layer][key, value][kv_head][position][head_dim]. One head's
// positions lie one after the other, as attention reads them. Only layers whose attention this executor owns are here.
#pragma once

#include "plan.h"
#include "memory_layout.h"

namespace thermocline {

class KvCache {
 public:
  KvCache(const EnginePlan& plan, uint32_t layers, MemoryLayout& memory)
      : positions_(plan.context_length),
        kv_heads_(plan.shape.kv_heads),
        head_dim_(plan.shape.head_dim),
        layers_(layers),
        data_(memory.take<uint16_t>(
            checked_product({plan.slots, layers, 2, kv_heads_, positions_, head_dim_}))) {}

  // The first position's key or value of a head; those of the next positions follow.
  uint16_t* keys(size_t slot, size_t layer, size_t kv_head) const { return head(slot, layer, 0, kv_head); }
  uint16_t* values(size_t slot, size_t layer, size_t kv_head) const { return head(slot, layer, 1, kv_head); }

 private:
  uint16_t* head(size_t slot, size_t layer, size_t value, size_t kv_head) const {
    return data_ + (((slot * layers_ + layer) * 2 + value) * kv_heads_ + kv_head) * positions_ * head_dim_;
  }

  size_t positions_, kv_heads_, head_dim_, layers_;
  uint16_t* data_;
};

}  // namespace thermocline
