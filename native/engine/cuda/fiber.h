// A call stack of its own that a thread switches to and from: a few nanoseconds on x86-64, where the system's
// swapcontext() would enter the kernel each time.
#pragma once

#include <cstddef>
#include <memory>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace thermocline::cuda::emulated {

class Fiber {
 public:
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // What resume() is to begin with: entry(), which must end in finish(). What ran before is forgotten; its stack is kept.
  void start(void (*entry)());

  // The thread's own stack: goes on in the fiber until that yields or finishes.
  void resume();

  // The fiber: goes back to whoever resumed it.
  void yield() { leave(false); }
  [[noreturn]] void finish();

  // The first thing that entry() does.
  void entered();

 private:
  static constexpr size_t kStackBytes = 256 << 10;

  void leave(bool for_good);

  std::unique_ptr<std::byte[]> stack_;
#if defined(__x86_64__)
  void* own_ = nullptr;      // stack pointers while the other side runs
  void* resumer_ = nullptr;
#else
  ucontext_t own_, resumer_;
#endif
  // For the address sanitizer, which must know about stacks.
  void* own_fake_ = nullptr;
  void* resumer_fake_ = nullptr;
  const void* resumer_stack_ = nullptr;
  size_t resumer_stack_bytes_ = 0;
};

}  // namespace thermocline::cuda::emulated
