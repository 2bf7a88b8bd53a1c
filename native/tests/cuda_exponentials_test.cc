// Exponentials on the card, emulated: the bits of the CPU's vector kernels over the whole range of floats.
#include "../engine/cuda/exponentials.h"

#include <bit>

#include "card.h"
#include "kernel_data.h"

namespace thermocline {
namespace {

using namespace test;

THERMOCLINE_KERNEL void exp_minus_all(const float* x, float shift, float* y, unsigned count) {
  for (unsigned i = cuda::thread_index(); i < count; i += cuda::block_threads()) y[i] = cuda::exp_minus(x[i], shift);
}

THERMOCLINE_KERNEL void silu_times_all(const float* g, const float* u, float* y, unsigned count) {
  for (unsigned i = cuda::thread_index(); i < count; i += cuda::block_threads()) y[i] = cuda::silu_times(g[i], u[i]);
}

// Floats of every exponent and sign, infinities and NaNs among them, and all around where e^x leaves the range.
std::vector<float> floats_of_all_kinds() {
  std::vector<float> all;
  for (uint32_t bits = 0; bits < 0xffff0000u; bits += 40009) all.push_back(std::bit_cast<float>(bits));
  for (const float edge : {-87.33654f, 88.37626f, 88.3762f, 0.0f, INFINITY}) {
    for (int step = -40; step <= 40; ++step) {
      all.push_back(std::bit_cast<float>(std::bit_cast<uint32_t>(edge) + static_cast<uint32_t>(step)));
    }
  }
  for (float x = -90; x < 90; x += 0.0137f) all.push_back(x);
  return all;
}

void check_same(const std::vector<float>& x, const std::vector<float>& actual, const std::vector<float>& expected) {
  for (size_t i = 0; i < x.size(); ++i) {
    if (!same_value(actual[i], expected[i])) {
      fail(__FILE__, __LINE__, "of ", x[i], " (element ", i, "): ", actual[i], " instead of ", expected[i]);
    }
  }
}

TEST(exponentials_are_the_vector_kernels_bits) {
  if (!fuses(fusing_kernels())) return;
  const std::vector<float> x = floats_of_all_kinds();
  const auto count = static_cast<unsigned>(x.size());
  for (const float shift : {0.0f, 3.7f, -20.0f}) {
    std::vector<float> expected(x.size());
    fusing_kernels().exp_minus(x.data(), shift, expected.data(), x.size());
    CardMemory<float> from(x), actual(x.size());
    cuda::launch(nullptr, exp_minus_all, {{1}, 32}, static_cast<const float*>(from.data()), shift, actual.data(), count);
    check_same(x, actual.values(), expected);
  }
}

TEST(silu_is_the_vector_kernels_bits) {
  if (!fuses(fusing_kernels())) return;
  Random random(3);
  const std::vector<float> g = floats_of_all_kinds();
  const auto count = static_cast<unsigned>(g.size());
  const std::vector<float> ordinary = random_floats(random, Data::random, g.size());
  for (const std::vector<float>& u : {ordinary, std::vector<float>(g.rbegin(), g.rend())}) {
    std::vector<float> expected(g.size());
    fusing_kernels().silu_times(g.data(), u.data(), expected.data(), g.size());
    CardMemory<float> gates(g), ups(u), actual(g.size());
    cuda::launch(nullptr, silu_times_all, {{1}, 32}, static_cast<const float*>(gates.data()),
                 static_cast<const float*>(ups.data()), actual.data(), count);
    check_same(g, actual.values(), expected);
  }
}

}  // namespace
}  // namespace thermocline
