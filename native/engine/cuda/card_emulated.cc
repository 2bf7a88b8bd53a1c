// A card that is this CPU: what is enqueued is done before the call returns.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../../error.h"
#include "../budget.h"
#include "card.h"

namespace thermocline::cuda {

struct CapturedStep::State {};
CapturedStep::CapturedStep() = default;
CapturedStep::~CapturedStep() = default;
size_t CapturedStep::operations() const { return 0; }

struct Card::State {
  std::vector<PinnedMemory> memory;
  int64_t marks[kMostMarks] = {};
};

CardInfo Card::probe() {
  constexpr uint64_t kMemory = uint64_t{1} << 40;  // a budget limits it
  return {"emulated card", kMemory, kMemory, 0, true, false, 0, 0, 0, 0};
}

Card::Card() : state_(std::make_unique<State>()) {}
Card::~Card() = default;

Stream Card::stream() const { return nullptr; }
std::byte* Card::device_memory(uint64_t bytes) {
  state_->memory.push_back(pinned_memory(bytes));
  return state_->memory.back().get();
}
// At an address as cudaMalloc() has it, with what lies behind it out of bounds for the address sanitizer.
PinnedMemory Card::pinned_memory(uint64_t bytes) {
  constexpr size_t kAlignment = 256;
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  if (::posix_memalign(&memory, kAlignment, bytes) != 0) {
    throw Error(ErrorCode::out_of_memory, "the emulated card has no " + mib(bytes) + " left");
  }
  return PinnedMemory(static_cast<std::byte*>(std::memset(memory, 0, bytes)));
}
void FreePinned::operator()(std::byte* memory) const { std::free(memory); }
void Card::share(std::byte*, uint64_t) {}
void Card::unshare() noexcept {}
uintptr_t Card::shared_offset() const { return 0; }

void Card::upload(const void* to, const std::byte* from, size_t bytes) {
  std::memcpy(const_cast<void*>(to), from, bytes);
}
void Card::clear(void* memory, size_t bytes) {
  if (bytes > 0) std::memset(memory, 0, bytes);
}
void Card::finish() {}
void Card::copy_in(void* device, const void* pinned, size_t bytes) { std::memcpy(device, pinned, bytes); }
void Card::copy_out(void* pinned, const void* device, size_t bytes) { std::memcpy(pinned, device, bytes); }

void Card::raise(Semaphore& semaphore, uint64_t value) { semaphore.signal(value); }
WaitResult Card::await(Semaphore& semaphore, uint64_t value, const WaitLimits& limits) {
  return semaphore.wait(value, limits);
}
void Card::mark(size_t number) { state_->marks[number] = monotonic_ns(); }
int64_t Card::marked_ns(size_t number) const { return state_->marks[number]; }

WaitResult Card::run(CapturedStep&, uint64_t, int64_t, const std::atomic<uint32_t>&,
                     const std::function<void()>& enqueue) {
  enqueue();
  return WaitResult::reached;
}
void Card::abandon(const CapturedStep&) {}
bool Card::is_stuck() const { return false; }

}  // namespace thermocline::cuda
