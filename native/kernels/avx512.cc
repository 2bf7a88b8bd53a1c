// AVX-512 F, BW, DQ and VL.
#include "instruction_sets.h"
#include "vector/lanes512.h"
#include "vector/table.h"

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "compile this file with -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

namespace thermocline {

const Kernels kAvx512Kernels = table<Lanes512, Dot512, DotAvx2>(InstructionSet::avx512);

}  // namespace thermocline
