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
  fake_stack_ = nullptr;
  bottom_ = stack_.get();
  bytes_ = kStackBytes;
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
  pointer_ = top - sizeof(frame);
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStackBytes;
  context_.uc_link = nullptr;
  makecontext(&context_, entry, 0);
#endif
}

void Fiber::leave_to(Fiber& other, [[maybe_unused]] bool for_good) {
  other.switched_from_ = this;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, other.bottom_, other.bytes_);
#endif
#if defined(__x86_64__)
  thermocline_switch_stack(&pointer_, other.pointer_);
#else
  swapcontext(&context_, &other.context_);
#endif
  entered();
}

void Fiber::entered() {
#if defined(__SANITIZE_ADDRESS__)
  // Where a thread's own stack lies is learned here, from the first fiber that it switches to.
  __sanitizer_finish_switch_fiber(fake_stack_, &switched_from_->bottom_, &switched_from_->bytes_);
#endif
}

void Fiber::finish_to(Fiber& other) {
  leave_to(other, true);
  std::terminate();  // nobody goes on with what has finished
}

}  // namespace thermocline::cuda::emulated
