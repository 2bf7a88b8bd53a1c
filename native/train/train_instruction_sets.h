// The tables behind train_kernels_for(). A table may be called only on a CPU that has its instruction set.
#pragma once

#include "train_kernels.h"

namespace thermocline {

extern const TrainKernels kBaselineTraining;
extern const TrainKernels kAvx2Training;
extern const TrainKernels kAvx512Training;

}  // namespace thermocline
