// Wide sums on the card, emulated: in floats as near to the truth as in f64, and known not to be where floats end.
#include "../engine/cuda/wide_sum.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "card.h"
#include "kernel_data.h"

namespace thermocline {
namespace {

using namespace test;
using cuda::DoubleSum;
using cuda::FloatSum;

constexpr float kMost = std::numeric_limits<float>::max();

struct Value {
  double value;
  bool known;
};

template <class Sum>
THERMOCLINE_KERNEL void add_terms(const float* terms, unsigned count, Value* result) {
  if (cuda::thread_index() != 0) return;
  Sum sum;
  for (unsigned i = 0; i < count; ++i) sum.add(terms[i]);
  *result = {sum.value(), sum.known()};
}

template <class Sum>
Value sum_of(const std::vector<float>& terms) {
  CardMemory<float> from(terms);
  CardMemory<Value> result(1);
  cuda::launch(nullptr, add_terms<Sum>, {{1}, cuda::kWarp}, static_cast<const float*>(from.data()),
               static_cast<unsigned>(terms.size()), result.data());
  return result[0];
}

// A sum of fewer than 2^20 multiples of 2^-149 in fixed point.
class Exact {
 public:
  // Finite, with a last bit of 2^-149 or more.
  void add(double value) {
    int exponent = 0;
    auto whole = static_cast<int64_t>(std::ldexp(std::frexp(value, &exponent), 53));
    int shift = exponent - 53 + 149;
    if (shift < 0) {
      CHECK(whole % (int64_t{1} << -shift) == 0);
      whole /= int64_t{1} << -shift;
      shift = 0;
    }
    for (; whole != 0; whole /= 1 << 20, shift += 20) digits_[shift / 20] += whole % (1 << 20) * (1 << shift % 20);
  }
  // To a few roundings.
  double value() const {
    int64_t digits[kDigits];
    int64_t carry = 0;
    for (int i = 0; i < kDigits; ++i) {
      const int64_t digit = digits_[i] + carry;
      carry = (digit + (1 << 19)) >> 20;
      digits[i] = digit - carry * (1 << 20);
    }
    CHECK_EQ(carry, 0);
    double sum = 0;
    for (int i = kDigits; i-- > 0;) sum += std::ldexp(static_cast<double>(digits[i]), 20 * i - 149);
    return sum;
  }

 private:
  static constexpr int kDigits = 17;
  int64_t digits_[kDigits] = {};
};

struct Truth {
  Exact sum;
  double magnitude = 0;  // of all terms

  explicit Truth(const std::vector<float>& terms) {
    for (const float term : terms) {
      sum.add(term);
      magnitude += std::fabs(double{term});
    }
  }
  double error_of(double value) const {
    Exact left = sum;
    left.add(-value);
    return std::fabs(left.value());
  }
};

// Each of `count` roundings to f32, of which one after the other adds to what is lost, loses 2^-24 of a sum, and so do
// those of what they lost and of what that lost; value() rounds to f64 twice.
double float_sum_error(const Truth& truth, size_t count) {
  return std::pow(static_cast<double>(count) * 0x1p-24, 3) * truth.magnitude +
         f64_error(1) * (std::fabs(truth.sum.value()) + static_cast<double>(count) * 0x1p-23 * truth.magnitude);
}

void check(const std::vector<float>& terms) {
  const Truth truth(terms);
  const Value floats = sum_of<FloatSum>(terms), doubles = sum_of<DoubleSum>(terms);
  const auto count = static_cast<double>(terms.size());
  CHECK(floats.known && doubles.known);
  if (truth.error_of(floats.value) > float_sum_error(truth, terms.size())) {
    fail(__FILE__, __LINE__, terms.size(), " terms: ", floats.value, " in floats instead of ", truth.sum.value());
  }
  CHECK(truth.error_of(doubles.value) <= f64_error(count) * truth.magnitude);
}

float random_term(Random& random, int least, int most) {
  const int exponent = least + static_cast<int>(random_bits(random) % static_cast<unsigned>(most - least + 1));
  return std::ldexp(random_float(random, Data::random), exponent);
}

std::vector<float> random_terms(Random& random, size_t count, int least, int most) {
  std::vector<float> terms;
  for (size_t i = 0; i < count; ++i) terms.push_back(random_term(random, least, most));
  return terms;
}

constexpr size_t kCounts[] = {1, 2, 3, 8, 40, 1000};

TEST(sums_in_floats_are_as_near_as_those_in_doubles) {
  Random random(1);
  for (const size_t count : kCounts) {
    for (const int spread : {0, 5, 20, 30, 60, 140, 230}) {
      for (int i = 0; i < 50; ++i) check(random_terms(random, count, -spread / 2, spread / 2));
    }
  }
}

TEST(sums_of_both_forms_are_the_same_floats) {
  Random random(2);
  for (const size_t count : kCounts) {
    for (int i = 0; i < 300; ++i) {
      const std::vector<float> terms = random_terms(random, count, -6, 0);
      CHECK(same_value(static_cast<float>(sum_of<FloatSum>(terms).value),
                       static_cast<float>(sum_of<DoubleSum>(terms).value)));
    }
  }
}

TEST(what_large_terms_leave_when_they_cancel_is_not_lost) {
  Random random(3);
  for (const size_t count : kCounts) {
    for (int i = 0; i < 100; ++i) {
      std::vector<float> terms = random_terms(random, count, -20, 20);
      for (size_t t = 0; t < count; ++t) terms.push_back(-terms[t]);
      terms.push_back(random_term(random, -30, -20));
      std::shuffle(terms.begin(), terms.end(), random);
      check(terms);
    }
  }
  CHECK_EQ(sum_of<FloatSum>({1, 0x1p40f, 0x1p-20f, -0x1p40f}).value, 1 + 0x1p-20);
  CHECK_EQ(sum_of<FloatSum>({0x1p-60f, 1, -1}).value, 0x1p-60);
}

TEST(the_least_and_the_largest_floats_are_added_exactly) {
  Random random(4);
  for (const size_t count : kCounts) {
    std::vector<float> terms = random_floats(random, Data::subnormal, count);
    check(terms);
    for (size_t i = 0; i < count; i += 3) terms[i] = random_term(random, -126, -100);
    check(terms);
    // As large as they can be without leaving the range in any order.
    for (float& term : terms) term = random_float(random, Data::random) * (kMost / static_cast<float>(count));
    check(terms);
  }
  CHECK_EQ(sum_of<FloatSum>({0x1p-149f, 0x1p-149f, -0x1p-148f, 0x1p-149f}).value, 0x1p-149);
  CHECK_EQ(sum_of<FloatSum>({kMost / 2, 0x1p-149f, -kMost / 2}).value, 0x1p-149);
}

TEST(sums_of_zeros_have_the_signs_of_those_in_doubles) {
  const std::vector<float> all[] = {{}, {0}, {-0.0f}, {-0.0f, -0.0f}, {-0.0f, 0, -0.0f}, {1, -1}, {-1, 1, -0.0f}};
  for (const std::vector<float>& terms : all) {
    const Value floats = sum_of<FloatSum>(terms), doubles = sum_of<DoubleSum>(terms);
    CHECK(floats.known);
    CHECK_EQ(std::bit_cast<uint64_t>(floats.value), 0u);
    CHECK_EQ(std::bit_cast<uint64_t>(doubles.value), 0u);
  }
}

TEST(sums_that_left_the_range_of_floats_are_known_to) {
  for (const float sign : {1.0f, -1.0f}) {
    const float most = sign * kMost;
    const std::vector<float> comes_back{3, most, most, -most, -most, 1};
    CHECK(!sum_of<FloatSum>(comes_back).known);
    CHECK(sum_of<DoubleSum>(comes_back).known);
    CHECK_EQ(sum_of<DoubleSum>(comes_back).value, 1.0);
    CHECK(!sum_of<FloatSum>({most, most}).known);
    CHECK_EQ(sum_of<DoubleSum>({most, most}).value, 2.0 * most);
  }
}

TEST(what_is_no_number_is_known_wherever_it_comes) {
  Random random(5);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float odd : {infinity, -infinity, std::nanf("")}) {
    for (size_t at = 0; at < 9; ++at) {
      std::vector<float> terms = random_terms(random, 9, -20, 20);
      terms[at] = odd;
      CHECK(!sum_of<FloatSum>(terms).known);
      CHECK(sum_of<DoubleSum>(terms).known);
      CHECK(same_value(sum_of<DoubleSum>(terms).value, double{odd}));
    }
  }
}

// Terms so large that a sum may or may not leave the range: where it is said to be known, it is right.
TEST(sums_at_the_edge_of_the_range_are_right_or_known_not_to_be) {
  Random random(6);
  unsigned known = 0, unknown = 0;
  for (int i = 0; i < 3000; ++i) {
    std::vector<float> terms = random_terms(random, 8, 120, 128);
    if (i % 3 == 0) terms[0] = std::copysign(kMost, terms[0]);
    const Truth truth(terms);
    const Value sum = sum_of<FloatSum>(terms);
    ++(sum.known ? known : unknown);
    if (sum.known) CHECK(truth.error_of(sum.value) <= float_sum_error(truth, terms.size()));
  }
  CHECK(known > 100 && unknown > 100);
}

}  // namespace
}  // namespace thermocline
