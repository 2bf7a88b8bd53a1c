// The residual's sums and the choice of rows on the card, emulated.
#include "../engine/cuda/merge.h"

#include <algorithm>
#include <deque>

#include "../engine/cpu/multiply.h"
#include "card.h"

namespace thermocline {
namespace {

using namespace test;

constexpr unsigned kElements = 3 * 97;

TEST(parts_are_added_as_the_cpu_adds_them) {
  Random random(1);
  ThreadPool pool(1, {});
  for (unsigned count = 0; count <= cuda::kMostParts; ++count) {
    const std::vector<float> before = random_floats(random, Data::random, kElements);
    std::vector<std::vector<double>> sums(count);
    std::deque<CardMemory<double>> on_card;
    std::vector<const double*> pointers;
    cuda::Parts parts{{}, count};
    for (unsigned p = 0; p < count; ++p) {
      for (unsigned i = 0; i < kElements; ++i) {
        // The second and the third take away what the others' last bits were.
        const double large = p == 1 ? 0x1p60 : p == 2 ? -0x1p60 : 0;
        sums[p].push_back(random_float(random, Data::random) + (i % 2 == 0 ? large : 0));
      }
      pointers.push_back(sums[p].data());
      parts.sums[p] = on_card.emplace_back(sums[p]).data();
    }
    std::vector<float> expected = before;
    add({pool, best_kernels()}, std::span(pointers), 3, kElements / 3, expected.data());
    CardMemory<float> y(before);
    cuda::add(nullptr, parts, kElements, y.data());
    CHECK(y.values() == expected);
    std::reverse(parts.sums, parts.sums + count);
    CardMemory<float> reversed(before);
    cuda::add(nullptr, parts, kElements, reversed.data());
    CHECK_EQ(reversed.values() == expected, count < 3);
  }
}

TEST(floats_are_added) {
  Random random(2);
  CardMemory<float> x(random_floats(random, Data::random, kElements));
  const std::vector<float> before = random_floats(random, Data::random, kElements + 1);
  CardMemory<float> y(before);
  cuda::add(nullptr, x.data(), kElements, y.data());
  for (unsigned i = 0; i < kElements; ++i) CHECK_EQ(y[i], before[i] + x[i]);
  CHECK_EQ(y[kElements], before[kElements]);
}

TEST(rows_are_gathered_in_the_order_asked_for) {
  Random random(3);
  for (const unsigned cols : {1u, 97u, 300u}) {
    CardMemory<float> x(random_floats(random, Data::random, size_t{6} * cols));
    CardMemory<uint32_t> which(std::vector<uint32_t>{4, 0, 5, 0});
    CardMemory<float> y(which.size() * cols);
    cuda::gather_rows(nullptr, x.data(), which.data(), static_cast<unsigned>(which.size()), cols, y.data());
    for (size_t i = 0; i < y.size(); ++i) CHECK_EQ(y[i], x[which[i / cols] * cols + i % cols]);
  }
}

}  // namespace
}  // namespace thermocline
