// What kernels are launched into, in order.
#pragma once

struct CUstream_st;

namespace thermocline::cuda {

using Stream = CUstream_st*;

}  // namespace thermocline::cuda
