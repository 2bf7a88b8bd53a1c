// AVX2 with FMA and F16C.
#include "instruction_sets.h"
#include "vector/table.h"

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "compile this file with -mavx2 -mfma -mf16c"
#endif

namespace thermocline {

const Kernels kAvx2Kernels = table<Lanes256, DotAvx2, DotAvx2>(InstructionSet::avx2);

}  // namespace thermocline
