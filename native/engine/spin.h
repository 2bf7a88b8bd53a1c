// How long a thread of the engine spins before it parks.
#pragma once

#include <cstdint>

namespace thermocline {

// Waking a parked thread costs 25-60 us on a virtual machine, so spinning about as long at most doubles what a wait
// costs. It is capped because with two cores the spinner may sit on the core that its awaited one needs.
inline constexpr int64_t kSpinNs = 50'000;

inline void spin_pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

}  // namespace thermocline
