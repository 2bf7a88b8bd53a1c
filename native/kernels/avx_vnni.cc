// AVX2 with AVX-VNNI's products of bytes.
#include "instruction_sets.h"
#include "vector/table.h"

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__) || !defined(__AVXVNNI__)
#error "compile this file with -mavx2 -mfma -mf16c -mavxvnni"
#endif

namespace thermocline {

const Kernels kAvxVnniKernels = table<Lanes256, DotVnni256, DotVnni256>(InstructionSet::avx_vnni);

}  // namespace thermocline
