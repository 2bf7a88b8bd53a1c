// AVX-512 (F, BW, DQ, VL).
#include "kernel_table.h"
#include "train_instruction_sets.h"

#if !defined(__AVX512F__)
#error "compile this file with -mavx512f"
#endif

namespace thermocline {

const TrainKernels kAvx512Training = train_table<16, 12>();

}  // namespace thermocline
