// Which instruction sets this CPU, and the operating system on it, can run.
#include <array>

#include "instruction_sets.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace thermocline {
namespace {

using Found = std::array<bool, kInstructionSets>;

#if defined(__x86_64__)

// XCR0: what the operating system saves when it switches threads.
uint32_t extended_control_register() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool has(uint32_t bits, uint32_t wanted) { return (bits & wanted) == wanted; }

Found detect() {
  constexpr uint32_t kAvx = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
  constexpr uint32_t kYmmState = 0x06;
  constexpr uint32_t kZmmState = kYmmState | 0xe0;
  constexpr uint32_t kAvx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
  Found found{true};
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !has(ecx, kAvx)) return found;
  const uint32_t saved = extended_control_register();
  if (!has(saved, kYmmState) || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !has(ebx, bit_AVX2)) return found;
  const bool avx512 = has(saved, kZmmState) && has(ebx, kAvx512);
  const bool avx512_vnni = avx512 && has(ecx, bit_AVX512VNNI);
  const bool avx_vnni = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && has(eax, bit_AVXVNNI);
  return {true, true, avx_vnni, avx512, avx512_vnni};
}

constexpr std::array<const Kernels*, kInstructionSets> kTables{&kScalarKernels, &kAvx2Kernels, &kAvxVnniKernels,
                                                               &kAvx512Kernels, &kAvx512VnniKernels};

#else

Found detect() { return {true}; }

constexpr std::array<const Kernels*, kInstructionSets> kTables{&kScalarKernels};

#endif

}  // namespace

const Kernels* kernels_for(InstructionSet set) {
  static const Found found = detect();  // once: a virtual machine traps on cpuid
  const size_t index = static_cast<size_t>(set);
  return found[index] ? kTables[index] : nullptr;
}

// They are listed slowest first.
const Kernels& best_kernels() {
  for (int set = kInstructionSets - 1; set > 0; --set) {
    if (const Kernels* kernels = kernels_for(static_cast<InstructionSet>(set))) return *kernels;
  }
  return kScalarKernels;
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::scalar: return "scalar";
    case InstructionSet::avx2: return "avx2";
    case InstructionSet::avx_vnni: return "avx-vnni";
    case InstructionSet::avx512: return "avx512";
    case InstructionSet::avx512_vnni: return "avx512-vnni";
  }
  return "unknown";
}

}  // namespace thermocline
