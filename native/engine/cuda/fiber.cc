#include "fiber.h"

#include <cstdint>
#include <cstring>
#include <exception>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Saves what a call must preserve (System V ABI), and the stack pointer to *from; goes on at `to`.
extern "C" void thermocline_switch_stack(void** from, void* to);
asm(R"(
.text
.type thermocline_switch_stack, @function
.hidden thermocline_switch_stack
.globl thermocline_switch_stack
thermocline_switch_stack:
  .cfi_startproc
  endbr64
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .cfi_endproc
.size thermocline_switch_stack, .-thermocline_switch_stack
)");
#endif

namespace thermocline::cuda::emulated {

void Fiber::start(void (*entry)()) {
  if (!stack_) stack_ = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
  own_fake_ = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  // A fiber that was abandoned in the middle left its variables' marks there.
  ASAN_UNPOISON_MEMORY_REGION(stack_.get(), kStackBytes);
#endif
#if defined(__x86_64__)
  // What thermocline_switch_stack() pops: six registers, then where it returns to, which finds the stack as after a call.
  constexpr size_t kRegisters = 6;
  std::byte* top = stack_.get() + kStackBytes;
  top -= reinterpret_cast<uintptr_t>(top) % 16;
  void* frame[kRegisters + 2] = {};
  frame[kRegisters] = reinterpret_cast<void*>(entry);
  std::memcpy(top - sizeof(frame), frame, sizeof(frame));
  own_ = top - sizeof(frame);
#else
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_.get();
  own_.uc_stack.ss_size = kStackBytes;
  own_.uc_link = nullptr;
  makecontext(&own_, entry, 0);
#endif
}

void Fiber::resume() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&resumer_fake_, stack_.get(), kStackBytes);
#endif
#if defined(__x86_64__)
  thermocline_switch_stack(&resumer_, own_);
#else
  swapcontext(&resumer_, &own_);
#endif
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(resumer_fake_, nullptr, nullptr);
#endif
}

void Fiber::leave([[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &own_fake_, resumer_stack_, resumer_stack_bytes_);
#endif
#if defined(__x86_64__)
  thermocline_switch_stack(&own_, resumer_);
#else
  swapcontext(&own_, &resumer_);
#endif
  entered();
}

void Fiber::entered() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(own_fake_, &resumer_stack_, &resumer_stack_bytes_);
#endif
}

void Fiber::finish() {
  leave(true);
  std::terminate();  // nobody resumes what has finished
}

}  // namespace thermocline::cuda::emulated
