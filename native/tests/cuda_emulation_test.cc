// The emulated grid: barriers, exchanges, and the faults that a card would hide.
#include "../engine/cuda/target.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"

namespace thermocline::cuda {
namespace {

std::string fault_of(const auto& work) {
  try {
    work();
  } catch (const emulated::Fault& fault) {
    return fault.what();
  }
  return "(no fault)";
}

void number_threads(int* to) { to[block_index().x * block_threads() + thread_index()] += 1; }

TEST(every_thread_of_every_block_runs_once) {
  std::vector<int> seen(5 * 64);
  launch(nullptr, number_threads, {{5}, 64}, seen.data());
  for (const int times : seen) CHECK_EQ(times, 1);
}

// Needs its barriers: threads go on in any order.
void reverse(int* values, unsigned rounds) {
  int* shared = reinterpret_cast<int*>(shared_memory());
  const unsigned t = thread_index(), count = block_threads();
  for (unsigned i = 0; i < rounds; ++i) {
    shared[t] = values[t];
    sync_threads();
    values[t] = shared[count - 1 - t];
    sync_threads();
  }
}

TEST(barriers_hold_back_a_block) {
  for (const unsigned rounds : {1u, 2u, 7u}) {
    std::vector<int> values(128), expected(128);
    std::iota(values.begin(), values.end(), 0);
    expected = values;
    if (rounds % 2 != 0) std::reverse(expected.begin(), expected.end());
    launch(nullptr, reverse, {{1}, 128, 128 * sizeof(int)}, values.data(), rounds);
    CHECK(values == expected);
  }
}

void shuffle(int* sums, uint32_t* odd) {
  int sum = static_cast<int>(thread_index());
  for (unsigned i = 1; i < kWarp; i *= 2) sum += from_lane(sum, lane_index() + i);
  const uint32_t bits = ballot(thread_index() % 2 != 0);
  sums[thread_index()] = sum;
  odd[thread_index()] = bits;
}

TEST(lanes_of_a_warp_exchange_values) {
  std::vector<int> sums(64);
  std::vector<uint32_t> odd(64);
  launch(nullptr, shuffle, {{1}, 64}, sums.data(), odd.data());
  for (unsigned t = 0; t < 64; ++t) {
    CHECK_EQ(sums[t], t < kWarp ? 31 * 32 / 2 : 31 * 32 / 2 + 32 * 32);
    CHECK_EQ(odd[t], 0xaaaaaaaau);
  }
}

void fill_from_shared(float* to) { to[thread_index()] = reinterpret_cast<float*>(shared_memory())[thread_index()]; }

TEST(shared_memory_starts_as_nans) {
  std::vector<float> values(32);
  launch(nullptr, fill_from_shared, {{1}, 32, 32 * sizeof(float)}, values.data());
  for (const float value : values) CHECK(value != value);
}

void half_waits() {
  if (thread_index() < 32) sync_threads();
}
void one_lane_waits() {
  if (lane_index() == 0) sync_warp();
}
void throws() {
  sync_threads();
  if (thread_index() == 7) throw std::runtime_error("seven");
  sync_threads();
}

TEST(what_would_hang_or_break_a_card_is_a_fault) {
  CHECK(fault_of([] { launch(nullptr, half_waits, {{1}, 64}); }).find("barriers") != std::string::npos);
  CHECK(fault_of([] { launch(nullptr, one_lane_waits, {{1}, 32}); }).find("barriers") != std::string::npos);
  CHECK(fault_of([] { launch(nullptr, half_waits, {{1}, 33}); }).find("33 threads") != std::string::npos);
  CHECK(fault_of([] { launch(nullptr, half_waits, {{0}, 32}); }).find("grid") != std::string::npos);
  CHECK(fault_of([] { launch(nullptr, half_waits, {{1}, 32, 1 << 20}); }).find("shared") != std::string::npos);
  CHECK(fault_of([] { thread_index(); }).find("outside") != std::string::npos);
  bool thrown = false;
  try {
    launch(nullptr, throws, {{1}, 64});
  } catch (const std::runtime_error& error) {
    thrown = std::string(error.what()) == "seven";
  }
  CHECK(thrown);
  std::vector<int> seen(64);
  launch(nullptr, number_threads, {{1}, 64}, seen.data());  // and the next launch is well
  CHECK_EQ(std::accumulate(seen.begin(), seen.end(), 0), 64);
}

}  // namespace
}  // namespace thermocline::cuda
