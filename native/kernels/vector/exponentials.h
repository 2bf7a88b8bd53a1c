// e^x of floats, and what is made of it.
#pragma once

#include "floats.h"

namespace thermocline {
namespace {

// e^x = 2^n * e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, where a Taylor polynomial of degree 7 is off by 2^-26 at
// most; n * ln 2 is taken off in two steps, the first of them exact, after Cody and Waite. Within two units in the last
// place. Below -87.3, where e^x is no longer a normal float, it is 0; above 88.3 infinite; a NaN stays one.
template <class Lanes>
typename Lanes::Floats exponential(typename Lanes::Floats x) {
  const auto lowest = Lanes::splat(-87.33654f), highest = Lanes::splat(88.37626f);
  const auto n = Lanes::round(Lanes::multiply(Lanes::within(x, lowest, highest), Lanes::splat(1.44269504f)));
  auto r = Lanes::multiply_add(n, Lanes::splat(-0.693359375f), x);
  r = Lanes::multiply_add(n, Lanes::splat(2.12194440e-4f), r);
  auto sum = Lanes::splat(1.0f / 5040);
  constexpr float kFactorials[] = {720, 120, 24, 6, 2, 1, 1};
  for (const float factorial : kFactorials) sum = Lanes::multiply_add(sum, r, Lanes::splat(1.0f / factorial));
  const auto value = Lanes::times_power_of_2(sum, n);
  return Lanes::select_out_of_range(x, lowest, highest, value);
}

// Calls whole(index) for each vector, and for what is left of `count` elements part(index, how many).
template <class Lanes, class Whole, class Part>
void for_each_whole(size_t count, const Whole& whole, const Part& part) {
  size_t i = 0;
  for (; i + Lanes::kWidth <= count; i += Lanes::kWidth) whole(i);
  if (i < count) part(i, count - i);
}

template <class Lanes>
void exp_minus(const float* x, float shift, float* y, size_t count) {
  const auto shifts = Lanes::splat(shift);
  const auto value = [&](typename Lanes::Floats from) { return exponential<Lanes>(Lanes::subtract(from, shifts)); };
  for_each_whole<Lanes>(
      count, [&](size_t i) { Lanes::store(y + i, value(Lanes::load_floats(bytes_of(x + i)))); },
      [&](size_t i, size_t some) {
        float rest[Lanes::kWidth];
        Lanes::store(rest, value(load_first<Lanes, F32>(bytes_of(x + i), some)));
        __builtin_memcpy(y + i, rest, some * sizeof(float));
      });
}

template <class Lanes>
void silu_times(const float* g, const float* u, float* y, size_t count) {
  const auto value = [&](typename Lanes::Floats gate, typename Lanes::Floats up) {
    const auto one = Lanes::splat(1.0f);
    const auto denominator = Lanes::add(one, exponential<Lanes>(Lanes::subtract(Lanes::zero(), gate)));
    return Lanes::multiply(Lanes::divide(gate, denominator), up);
  };
  for_each_whole<Lanes>(
      count,
      [&](size_t i) {
        Lanes::store(y + i, value(Lanes::load_floats(bytes_of(g + i)), Lanes::load_floats(bytes_of(u + i))));
      },
      [&](size_t i, size_t some) {
        float rest[Lanes::kWidth];
        Lanes::store(rest, value(load_first<Lanes, F32>(bytes_of(g + i), some),
                                 load_first<Lanes, F32>(bytes_of(u + i), some)));
        __builtin_memcpy(y + i, rest, some * sizeof(float));
      });
}

}  // namespace
}  // namespace thermocline
