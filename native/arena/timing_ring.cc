#include "timing_ring.h"

#include <array>
#include <bit>
#include <type_traits>

namespace thermocline {
namespace {

using Slot = TimingRing::Slot;
using Words = std::array<uint64_t, std::extent_v<decltype(Slot::words)>>;
static_assert(sizeof(Slot) == sizeof(Timing) && std::atomic<uint64_t>::is_always_lock_free);

// Each word is stored with release and loaded with acquire: whoever sees a word of an overwriting record also sees the
// `written` count before it, which tells that what was copied is torn.
void store(Slot& slot, const Timing& timing) {
  const Words words = std::bit_cast<Words>(timing);
  for (size_t i = 0; i < words.size(); ++i) slot.words[i].store(words[i], std::memory_order_release);
}

Timing load(const Slot& slot) {
  Words words;
  for (size_t i = 0; i < words.size(); ++i) words[i] = slot.words[i].load(std::memory_order_acquire);
  return std::bit_cast<Timing>(words);
}

}  // namespace

void TimingRing::write(const Timing& timing) {
  const uint64_t number = header_->written.load(std::memory_order_relaxed);
  store(slots_[number & (capacity_ - 1)], timing);
  header_->written.store(number + 1, std::memory_order_release);
}

uint32_t TimingRing::read(Timing* out, uint32_t most, uint64_t& lost) {
  const uint64_t end = header_->written.load(std::memory_order_acquire);
  uint64_t next = header_->read.load(std::memory_order_relaxed);
  uint32_t copied = 0;
  while (copied < most && next < end) {
    out[copied] = load(slots_[next & (capacity_ - 1)]);
    // The record `written` may be half there already, in the place of `written - capacity`.
    const uint64_t written = header_->written.load(std::memory_order_acquire);
    if (next + capacity_ > written) {
      ++copied;
      ++next;
    } else {
      const uint64_t oldest = written - capacity_ + 1;
      lost += oldest - next;
      next = oldest;
    }
  }
  header_->read.store(next, std::memory_order_relaxed);
  return copied;
}

}  // namespace thermocline
