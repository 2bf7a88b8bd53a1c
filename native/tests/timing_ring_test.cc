#include "../arena/timing_ring.h"

#include <array>
#include <thread>

#include "check.h"

namespace thermocline {
namespace {

constexpr uint32_t kCapacity = 8;

struct Ring {
  TimingRing::Header header{};
  std::array<TimingRing::Slot, kCapacity> slots{};
  TimingRing view{&header, slots.data(), kCapacity};
};

// A record whose every field follows from its number, so that a torn one shows.
Timing numbered(uint64_t n) {
  const auto low = static_cast<uint32_t>(n);
  return {n, static_cast<int64_t>(n) + 1, static_cast<int64_t>(n) + 2, n + 3, low + 4, static_cast<int32_t>(low) + 5,
          Phase::merge, low + 6, low + 7, low + 8};
}

void check_numbered(const Timing& timing, uint64_t n) {
  const Timing expected = numbered(n);
  CHECK_EQ(timing.step, expected.step);
  CHECK_EQ(timing.start_ns, expected.start_ns);
  CHECK_EQ(timing.end_ns, expected.end_ns);
  CHECK_EQ(timing.bytes, expected.bytes);
  CHECK_EQ(timing.executor, expected.executor);
  CHECK_EQ(timing.layer, expected.layer);
  CHECK(timing.phase == expected.phase);
  CHECK_EQ(timing.rows, expected.rows);
  CHECK_EQ(timing.active, expected.active);
  CHECK_EQ(timing.placed, expected.placed);
}

TEST(records_come_out_in_order_across_the_wrap) {
  Ring ring;
  Timing out[kCapacity];
  uint64_t lost = 0;
  uint64_t next = 0;
  for (uint64_t n = 0; n < 5 * kCapacity;) {
    for (int i = 0; i < 3; ++i) ring.view.write(numbered(n++));
    CHECK_EQ(ring.view.read(out, kCapacity, lost), 3);
    for (int i = 0; i < 3; ++i) check_numbered(out[i], next++);
  }
  CHECK_EQ(ring.view.read(out, kCapacity, lost), 0);
  CHECK_EQ(lost, 0);
}

TEST(a_read_takes_no_more_than_asked) {
  Ring ring;
  Timing out[kCapacity];
  uint64_t lost = 0;
  for (uint64_t n = 0; n < 5; ++n) ring.view.write(numbered(n));
  CHECK_EQ(ring.view.read(out, 2, lost), 2);
  CHECK_EQ(ring.view.read(out, kCapacity, lost), 3);
  check_numbered(out[0], 2);
  CHECK_EQ(lost, 0);
}

TEST(overwritten_records_are_counted_as_lost) {
  Ring ring;
  Timing out[kCapacity];
  uint64_t lost = 0;
  for (uint64_t n = 0; n < 3 * kCapacity; ++n) ring.view.write(numbered(n));
  const uint32_t kept = kCapacity - 1;
  CHECK_EQ(ring.view.read(out, kCapacity, lost), kept);
  CHECK_EQ(lost, 3 * kCapacity - kept);
  for (uint32_t i = 0; i < kept; ++i) check_numbered(out[i], 2 * kCapacity + 1 + i);
}

TEST(a_reader_racing_with_the_writer_sees_whole_records_or_counts_them) {
  Ring ring;
  constexpr uint64_t kRecords = 200'000;
  std::thread writer([&] {
    for (uint64_t n = 0; n < kRecords; ++n) ring.view.write(numbered(n));
  });
  Timing out[kCapacity];
  uint64_t seen = 0;
  uint64_t lost = 0;
  while (seen + lost < kRecords) {
    const uint32_t count = ring.view.read(out, kCapacity, lost);
    seen += count;
    for (uint32_t i = 0; i < count; ++i) check_numbered(out[i], out[i].step);
    if (count > 0) CHECK(out[count - 1].step < seen + lost);
  }
  writer.join();
  CHECK_EQ(seen + lost, kRecords);
}

}  // namespace
}  // namespace thermocline
