// A card: its memory, the order of what it does, and the clock by which it does it. card_cuda.cu is one with a driver,
// card_emulated.cc this CPU; a library contains one of them.
//
// What is enqueued is done later, in order, and on a real card without this thread: it waits for other executors and
// signals them by itself.
#pragma once

#include <functional>
#include <memory>

#include "../../arena/arena.h"
#include "../device_library.h"
#include "stream.h"

namespace thermocline::cuda {

// Memory of the host that the bus reads at its full speed; kernels read and write it in place.
struct FreePinned {
  void operator()(std::byte* memory) const;
};
using PinnedMemory = std::unique_ptr<std::byte, FreePinned>;

// What one Card::run() enqueued, so that the next one of this step need not. Empty at first. Refers to the memory that
// was shared then; ends before its card.
class CapturedStep {
 public:
  CapturedStep();
  ~CapturedStep();
  CapturedStep(const CapturedStep&) = delete;
  CapturedStep& operator=(const CapturedStep&) = delete;

  // What the driver keeps of it: kernels, copies, waits and the like.
  size_t operations() const;

  struct State;

 private:
  friend class Card;
  std::unique_ptr<State> state_;
};

class Card {
 public:
  // Throws Error `unsupported` when there is none that this build can use, with what is missing.
  static CardInfo probe();
  Card();
  ~Card();
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;

  Stream stream() const;

  // Zeroed memory of the card, which lives as long as it does, or of the host. nullptr for 0 bytes; else at multiples of
  // 256. Throws Error `out_of_memory`.
  std::byte* device_memory(uint64_t bytes);
  // Any thread, while steps run.
  PinnedMemory pinned_memory(uint64_t bytes);

  // Lets the card read and write host memory in place until unshare(), which comes before another. Throws Error `system`.
  void share(std::byte* memory, uint64_t bytes);
  // Between steps. A card that is lost, or has nothing shared, has nothing to let go of.
  void unshare() noexcept;
  // The card's address of something in it.
  template <class T>
  T* shared(T* host) const {
    return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(host) + shared_offset());
  }

  // At once, between steps. `from` may be overwritten when it returns.
  void upload(const void* to, const std::byte* from, size_t bytes);
  void clear(void* memory, size_t bytes);

  // Waits for what was launched into the stream outside of run().
  void finish();

  // Enqueued.
  void copy_in(void* device, const void* pinned, size_t bytes);
  void copy_out(void* pinned, const void* device, size_t bytes);
  void raise(Semaphore& semaphore, uint64_t value);
  // What is enqueued later waits. A card that takes its work ahead returns `reached`, and run() has the outcome.
  WaitResult await(Semaphore& semaphore, uint64_t value, const WaitLimits& limits);
  // Takes the time when all before is done; numbers count from 0 in each run, up to kMostMarks - 1.
  static constexpr size_t kMostMarks = 4096;
  void mark(size_t number);

  // Does what `enqueue` enqueues, and returns when it is done. For the same `step` everything but values of semaphores,
  // which are `base` and something that stays the same, is as it was: then `enqueue` need not be called.
  // `aborted`, or `timed_out` when for so long none of its semaphores has moved: it may be under way still, and wait for
  // others. Throws Error `out_of_memory` when the card has no room for what was enqueued; nothing has begun then.
  WaitResult run(CapturedStep& step, uint64_t base, int64_t patience_ns, const std::atomic<uint32_t>& abort,
                 const std::function<void()>& enqueue);
  // Ends what the last run() has left under way, by letting it through all its waits: who else waits for these must
  // find the arena aborted. Throws Error `system` when the card does not come to an end; nothing can be done with it
  // then, and its memory is left to the process's end.
  void abandon(const CapturedStep& step);
  // Whether abandon() found that.
  bool is_stuck() const;

  // Of the last run, CLOCK_MONOTONIC.
  int64_t marked_ns(size_t number) const;

 private:
  uintptr_t shared_offset() const;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace thermocline::cuda
