// The tables behind kernels_for(). A table may be called only on a CPU that has its instruction set.
#pragma once

#include "kernels.h"

namespace thermocline {

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvxVnniKernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;

}  // namespace thermocline
