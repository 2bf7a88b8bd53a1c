// Rotary position embedding (Su et al. 2021) on pairs of a head's leading dimensions.
#pragma once

#include "../arena/arena.h"
#include "memory_layout.h"
#include "plan.h"

namespace thermocline {

class Rope {
 public:
  // Takes scratch for the angles of `rows` rows; 0 when this executor runs no attention.
  Rope(const ModelShape& shape, size_t rows, MemoryLayout& scratch);

  // Sets the frequencies: pair i turns by scale * base^(-2i / dims) / factors[i] radians a position. `factors` is f32
  // [dims / 2] at any alignment, or null for none.
  void set_frequencies(const ModelShape& shape, const std::byte* factors);

  struct Turn {
    float cos, sin;
  };

  // Computes the angles of a step's rows, once for all layers and heads.
  void turn_to(const Step& step);
  const Turn* turns() const { return turns_; }  // [rows][pairs]
  size_t pairs() const { return pairs_; }

  // Rotates one head [head_dim] of the step's row `row`.
  void rotate(size_t row, float* head) const;

 private:
  size_t pairs_;
  RopePairs arrangement_;
  double* frequencies_;  // [pairs]
  Turn* turns_;          // [rows][pairs]
};

}  // namespace thermocline
