// AVX2 with FMA.
#include "kernel_table.h"
#include "train_instruction_sets.h"

#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this file with -mavx2 -mfma"
#endif

namespace thermocline {

const TrainKernels kAvx2Training = train_table<8, 6>();

}  // namespace thermocline
