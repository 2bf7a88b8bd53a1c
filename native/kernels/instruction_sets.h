// The tables behind kernels_for(). A table may be called only on a CPU that has its instruction set.
#pragma once

#include "kernels.h"

namespace thermocline {

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;

}  // namespace thermocline
