// Sums of floats that have f64's bits, in the form that a card is fast in. Consumer cards add one double for every 64
// floats, and make doubles of floats no faster; a sum of three floats costs them thirteen additions of f32 a term.
#pragma once

#include "target.h"

namespace thermocline::cuda {

// Terms added one after the other in floats or doubles.
template <class Number>
class SumIn {
 public:
  THERMOCLINE_DEVICE void add(float term) { sum_ += term; }
  THERMOCLINE_DEVICE Number value() const { return sum_; }
  // Whether value() is the terms' sum.
  THERMOCLINE_DEVICE bool known() const { return true; }

 private:
  Number sum_ = 0;
};
using DoubleSum = SumIn<double>;

// What `high` loses is added up in `middle`, and what that loses in `low`: more than 70 bits, of which only the last
// ones are ever rounded. No compiler may fuse or reorder these additions.
class FloatSum {
 public:
  THERMOCLINE_DEVICE void add(float term) { low_ += add_to(middle_, add_to(high_, term)); }
  THERMOCLINE_DEVICE double value() const { return double{high_} + (double{middle_} + double{low_}); }
  // Not where a term was no number or `high` left the range of floats, though doubles might have come back into it: what
  // was lost is then no number either, and stays in `middle`.
  THERMOCLINE_DEVICE bool known() const { return middle_ - middle_ == 0; }

 private:
  // sum += term; what that rounds off, exactly (Knuth's TwoSum).
  THERMOCLINE_DEVICE static float add_to(float& sum, float term) {
    const float before = sum;
    sum = before + term;
    const float added = sum - before;
    return (before - (sum - added)) + (term - added);
  }

  float high_ = 0, middle_ = 0, low_ = 0;
};

// For what a kernel keeps to itself: nvcc's passes take different ones, so it can be no argument of a kernel's template.
// The emulation takes what consumer cards do.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900)
using WideSum = DoubleSum;
#else
using WideSum = FloatSum;
#endif

}  // namespace thermocline::cuda
