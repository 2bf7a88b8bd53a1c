// The host's part in a step that a card does by itself.
#pragma once

#include <functional>
#include <vector>

#include "../../arena/semaphore.h"

namespace thermocline::cuda {

// A card's writes to semaphores wake nobody, and nobody wakes the thread that watches it: it looks, and wakes who sleeps.
class StepWatch {
 public:
  // What the card raises, and what it waits for; each as often as is convenient.
  void add_raised(Semaphore& semaphore) { add(raised_, semaphore); }
  void add_awaited(Semaphore& semaphore) { add(awaited_, semaphore); }

  // Before the card begins: what it raises from now on is seen.
  void begin();
  // Returns once is_done(), or `aborted`, or `timed_out` when for so long no semaphore has moved. May be called again.
  WaitResult wait(const std::function<bool()>& is_done, int64_t patience_ns, const std::atomic<uint32_t>& abort);
  // Raises all that the card waits for beyond every value there is.
  void let_through() const;

 private:
  struct Watched {
    Semaphore* semaphore;
    uint64_t seen = 0;
  };
  static void add(std::vector<Watched>& list, Semaphore& semaphore);

  std::vector<Watched> raised_, awaited_;
};

}  // namespace thermocline::cuda
