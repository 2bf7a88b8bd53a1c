// Which device computes for which options.
#include "cpu/cpu_device.h"
#include "cuda/card_needs.h"
#include "device_library.h"

namespace thermocline {

MemoryNeeds memory_needs(const EnginePlan& plan, const EngineOptions& options) {
  return options.library.empty() ? cpu_memory_needs(plan, options) : cuda::card_memory_needs(plan, options);
}

std::unique_ptr<Device> load_device(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                                    const CancelFlag& cancel) {
  if (options.library.empty()) return load_cpu_device(plan, options, progress, cancel);
  return DeviceLibrary(options.library).load(plan, options, progress, cancel);
}

}  // namespace thermocline
