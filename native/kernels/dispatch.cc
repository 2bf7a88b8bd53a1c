// Which instruction sets this CPU, and the operating system on it, can run.
#include "instruction_sets.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace thermocline {
namespace {

#if defined(__x86_64__)

// XCR0: what the operating system saves when it switches threads.
uint32_t extended_control_register() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool detect_avx2() {
  constexpr uint32_t kLeaf1 = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
  constexpr uint32_t kXmmAndYmm = 0x6;
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & kLeaf1) != kLeaf1) return false;
  if ((extended_control_register() & kXmmAndYmm) != kXmmAndYmm) return false;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & bit_AVX2) != 0;
}

const Kernels* avx2_kernels() {
  static const bool found = detect_avx2();  // once: a virtual machine traps on cpuid
  return found ? &kAvx2Kernels : nullptr;
}

#else

const Kernels* avx2_kernels() { return nullptr; }

#endif

}  // namespace

const Kernels* kernels_for(InstructionSet set) {
  switch (set) {
    case InstructionSet::scalar:
      return &kScalarKernels;
    case InstructionSet::avx2:
      return avx2_kernels();
  }
  return nullptr;
}

const Kernels& best_kernels() {
  const Kernels* avx2 = avx2_kernels();
  return avx2 != nullptr ? *avx2 : kScalarKernels;
}

const char* name_of(InstructionSet set) { return set == InstructionSet::avx2 ? "avx2" : "scalar"; }

}  // namespace thermocline
