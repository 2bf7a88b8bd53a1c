#pragma once

#include <cstdint>

namespace thermocline {

// 64 bits from the kernel's generator: nobody can guess them.
uint64_t random_bits();

}  // namespace thermocline
