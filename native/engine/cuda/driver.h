// Calls of the CUDA runtime and of the driver beneath it, whose failures are thrown.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>

#include <string>

#include "../../error.h"

namespace thermocline::cuda {

// The card that is used.
inline constexpr int kDevice = 0;

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // which would tell it again after the next launch
  const ErrorCode code = result == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::system;
  throw Error(code, std::string("the card failed to ") + what + ": " + cudaGetErrorString(result));
}

inline void check_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  throw Error(ErrorCode::system,
              std::string("the card's driver failed to ") + what + ": error " + std::to_string(result));
}

// Opens the card, for whoever can use it. Throws Error `unsupported` when there is none that this build can use, with
// what is missing.
cudaDeviceProp open_card();

// A function of the driver, which is not linked with: a machine without one can then open this library and say so.
template <class Function>
Function driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result{};
#if CUDART_VERSION >= 12050
  check(cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &result), "find its driver");
#else
  check(cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &result), "find its driver");
#endif
  if (found == nullptr || result != cudaDriverEntryPointSuccess) {
    throw Error(ErrorCode::unsupported, std::string("the NVIDIA driver has no ") + name + ": CUDA 12 or newer is needed");
  }
  return reinterpret_cast<Function>(found);
}

}  // namespace thermocline::cuda
