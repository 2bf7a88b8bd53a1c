// What the driver says of its first card, and whether this build can use it.
#include "card.h"
#include "driver.h"
#include "timeline_operations.h"

namespace thermocline::cuda {
namespace {

constexpr int kLeastCompute = 75;  // what the kernels are compiled for: Turing and newer

// Of what some cards, parts of cards and their drivers do not tell, 0.
int attribute(cudaDeviceAttr which) {
  int value = 0;
  if (cudaDeviceGetAttribute(&value, which, kDevice) == cudaSuccess) return value > 0 ? value : 0;
  cudaGetLastError();  // which would tell it again after the next call
  return 0;
}

// At either edge of its clock, memory moves as many bits as its bus is wide.
uint64_t memory_bytes_per_s() {
  const auto clock_khz = static_cast<uint64_t>(attribute(cudaDevAttrMemoryClockRate));
  const auto bus_bits = static_cast<uint64_t>(attribute(cudaDevAttrGlobalMemoryBusWidth));
  return 2 * 1000 * clock_khz * bus_bits / 8;
}

bool has_memory_operations() {
  struct StreamOfTrial {
    cudaStream_t stream = nullptr;
    ~StreamOfTrial() {
      if (stream != nullptr) cudaStreamDestroy(stream);
    }
  } trial;
  check(cudaStreamCreateWithFlags(&trial.stream, cudaStreamNonBlocking), "make a stream");
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, TimelineOperations::kPinnedBytes, cudaHostAllocMapped), "pin memory of the host");
  return TimelineOperations(trial.stream, PinnedMemory(static_cast<std::byte*>(memory))).are_memory_operations();
}

struct Versions {
  int driver = 0, runtime = 0;
};

Versions versions() {
  Versions found;
  check(cudaDriverGetVersion(&found.driver), "tell its driver's version");
  check(cudaRuntimeGetVersion(&found.runtime), "tell the runtime's version");
  return found;
}

}  // namespace

cudaDeviceProp open_card() {
  const auto [driver, runtime] = versions();
  int count = 0;
  if (driver == 0) throw Error(ErrorCode::unsupported, "there is no NVIDIA driver");
  const cudaError_t result = cudaGetDeviceCount(&count);
  if (result == cudaErrorInsufficientDriver) {
    throw Error(ErrorCode::unsupported, "the NVIDIA driver is of CUDA " + std::to_string(driver / 1000) + "." +
                                            std::to_string(driver % 1000 / 10) + ", and this build needs " +
                                            std::to_string(runtime / 1000) + ": update the driver");
  }
  if (result != cudaSuccess || count == 0) {
    throw Error(ErrorCode::unsupported, std::string("the NVIDIA driver offers no card: ") + cudaGetErrorString(result));
  }
  check(cudaSetDevice(kDevice), "be opened");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, kDevice), "describe itself");
  const int compute = 10 * properties.major + properties.minor;
  if (compute < kLeastCompute) {
    throw Error(ErrorCode::unsupported, std::string(properties.name) + " has compute capability " +
                                            std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                            ", and 7.5 is the least that can be used");
  }
  return properties;
}

CardInfo Card::probe() {
  const cudaDeviceProp properties = open_card();
  const auto [driver, runtime] = versions();
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "tell its free memory");
  return {properties.name,
          total,
          free,
          memory_bytes_per_s(),
          has_memory_operations(),
          attribute(cudaDevAttrKernelExecTimeout) != 0,
          static_cast<uint32_t>(properties.major),
          static_cast<uint32_t>(properties.minor),
          static_cast<uint32_t>(driver),
          static_cast<uint32_t>(runtime)};
}

}  // namespace thermocline::cuda
