// AVX-512 F, BW, DQ and VL with AVX-512-VNNI's products of bytes.
#include "instruction_sets.h"
#include "vector/lanes512.h"
#include "vector/table.h"

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__) || \
    !defined(__AVX512VNNI__)
#error "compile this file with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni"
#endif

namespace thermocline {

const Kernels kAvx512VnniKernels = table<Lanes512, DotVnni512, DotVnni256>(InstructionSet::avx512_vnni);

}  // namespace thermocline
