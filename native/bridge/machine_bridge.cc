#include "machine_bridge.h"

#include <sys/prctl.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>

#include "../arena/semaphore.h"
#include "../kernels/kernels.h"
#include "argument.h"
#include "bandwidth.h"
#include "errors.h"
#include "event_loop.h"
#include "machine.h"

namespace thermocline::bridge {
namespace {

constexpr uint64_t kMostThreads = 1024;
constexpr uint64_t kLeastBytesPerThread = 4096;
constexpr double kMostSeconds = 60;

Napi::Array instruction_sets(Napi::Env env) {
  Napi::Array names = Napi::Array::New(env);
  for (int i = 0; i < kInstructionSets; ++i) {
    const auto set = static_cast<InstructionSet>(i);
    if (kernels_for(set) != nullptr) names.Set(names.Length(), name_of(set));
  }
  return names;
}

Napi::Value machine(const Napi::CallbackInfo& info) {
  const Machine found = look_at_machine();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("instructionSets", instruction_sets(info.Env()));
  result.Set("cpu", found.cpu);
  result.Set("cores", found.cores);
  result.Set("memoryBytes", static_cast<double>(found.memory_bytes));
  result.Set("availableMemoryBytes", static_cast<double>(found.available_memory_bytes));
  result.Set("sharedMemoryBytes", static_cast<double>(found.shared_memory_bytes));
  result.Set("availableSharedMemoryBytes", static_cast<double>(found.available_shared_memory_bytes));
  return result;
}

Napi::Value bandwidth(const Napi::CallbackInfo& info) {
  const Argument threads_argument(info[0], "threads");
  const auto threads = static_cast<uint32_t>(threads_argument.number(1, kMostThreads));
  const Argument bytes_argument(info[1], "bytes");
  const uint64_t bytes = bytes_argument.integer(UINT64_MAX);
  if (bytes < threads * kLeastBytesPerThread) {
    throw Error(ErrorCode::invalid_argument,
                "bytes is " + std::to_string(bytes) + ": it must be at least " +
                    std::to_string(threads * kLeastBytesPerThread) + " for " + std::to_string(threads) + " threads",
                "bytes");
  }
  const double seconds = Argument(info[2], "seconds").number(0, kMostSeconds);
  const auto stop = std::make_shared<std::atomic<bool>>(false);
  return EventLoop::of(info.Env())
      ->run(
          [=](EventLoop::Ticket) -> EventLoop::MakeValue {
            const double speed = measure_bandwidth(threads, bytes, seconds, *stop);
            return [speed](Napi::Env env) { return Napi::Number::New(env, speed); };
          },
          [stop] { *stop = true; });
}

Napi::Value die_with_parent(const Napi::CallbackInfo& info) {
  if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) {
    throw Error(ErrorCode::system, std::string("the kernel won't signal a parent's death: ") + std::strerror(errno));
  }
  return info.Env().Undefined();
}

Napi::Value monotonic(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(monotonic_ns()));
}

}  // namespace

void export_machine(Napi::Env env, Napi::Object exports) {
  exports.Set("machine", Napi::Function::New(env, guarded<machine>));
  exports.Set("measureBandwidth", Napi::Function::New(env, guarded<bandwidth>));
  exports.Set("dieWithParent", Napi::Function::New(env, guarded<die_with_parent>));
  exports.Set("monotonicNs", Napi::Function::New(env, guarded<monotonic>));
}

}  // namespace thermocline::bridge
