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
  // The calling thread's own stack, until start().
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // What the first switch to it begins with: entry(), which first calls entered() and never returns. What ran before is
  // forgotten; its stack is kept.
  void start(void (*entry)());

  // By the code that runs in this fiber: goes on there until somebody switches back.
  void switch_to(Fiber& other) { leave_to(other, false); }
  // The same, but nobody will.
  [[noreturn]] void finish_to(Fiber& other);

  void entered();

 private:
  static constexpr size_t kStackBytes = 256 << 10;

  void leave_to(Fiber& other, bool for_good);

  std::unique_ptr<std::byte[]> stack_;
#if defined(__x86_64__)
  void* pointer_ = nullptr;  // of the stack, while others run
#else
  ucontext_t context_;
#endif
  // For the address sanitizer, which must know about stacks.
  Fiber* switched_from_ = nullptr;
  void* fake_stack_ = nullptr;
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace thermocline::cuda::emulated
