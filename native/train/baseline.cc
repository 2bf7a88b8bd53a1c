// What every CPU has, and the choice among the tables.
#include "kernel_table.h"
#include "train_instruction_sets.h"

namespace thermocline {

const TrainKernels kBaselineTraining = train_table<4, 4>();

const TrainKernels& train_kernels_for([[maybe_unused]] InstructionSet set) {
#if defined(__x86_64__)
  if (set >= InstructionSet::avx512) return kAvx512Training;
  if (set >= InstructionSet::avx2) return kAvx2Training;
#endif
  return kBaselineTraining;
}

}  // namespace thermocline
