// What a device library exports (device_library.h).
#include "cuda_device.h"

namespace thermocline::cuda {
namespace {

std::unique_ptr<Device> load(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                             const CancelFlag& cancel) {
  return std::make_unique<CudaDevice>(plan, options, progress, cancel);
}

constexpr DeviceFunctions kFunctions{DeviceFunctions::kVersion, &Card::probe, &load};

}  // namespace
}  // namespace thermocline::cuda

extern "C" __attribute__((visibility("default"))) const thermocline::DeviceFunctions* thermocline_device_library() {
  return &thermocline::cuda::kFunctions;
}
