// A device in a shared library of its own, opened when it is asked for: one installation then serves machines with a
// card, with another card, and without. What such a library exports is thermocline_device_library().
#pragma once

#include <memory>
#include <string>

#include "engine.h"

namespace thermocline {

// A card, as its driver describes it.
struct CardInfo {
  std::string name;
  uint64_t memory_bytes;
  uint64_t free_bytes;          // of memory, at present
  uint64_t memory_bytes_per_s;  // at most, as its memory's clock and bus have it; 0 where they are not told
  bool memory_operations;       // it waits for other executors by itself; else kernels do, which spin
  bool kernel_time_limit;       // its driver ends what takes some seconds, as where it drives a display
  uint32_t compute_major, compute_minor;
  uint32_t driver_version;      // of CUDA, 1000 * major + 10 * minor
  uint32_t runtime_version;     // likewise, of what the library was built with
};

// What a library offers. Its functions throw Error.
struct DeviceFunctions {
  // Of this structure and of everything it refers to: sizes tell apart most builds that do not fit together.
  static constexpr uint64_t kVersion =
      2 + 256 * (sizeof(EnginePlan) + sizeof(EngineOptions) + sizeof(ModelShape) + sizeof(CardInfo));
  uint64_t version;
  // The first card. `unsupported` when there is none that this build can use, with what is missing.
  CardInfo (*probe)();
  std::unique_ptr<Device> (*load)(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                                  const CancelFlag& cancel);
};

// A library stays open until the process ends: a driver's threads may still be in it.
class DeviceLibrary {
 public:
  // Throws Error: `not_found` when there is no such file, `unsupported` when it cannot be opened (most often a library
  // that it needs is missing) or is of another build.
  explicit DeviceLibrary(const std::string& path);

  CardInfo probe() const { return functions_->probe(); }
  std::unique_ptr<Device> load(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                               const CancelFlag& cancel) const {
    return functions_->load(plan, options, progress, cancel);
  }

 private:
  const DeviceFunctions* functions_;
};

}  // namespace thermocline
