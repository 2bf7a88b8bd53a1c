#include "timeline_operations.h"

#include <atomic>
#include <thread>

#include "captured_step.h"

namespace thermocline::cuda {
namespace {

// For a few words to be written.
constexpr int64_t kTrialNs = 1'000'000'000;

// Where the driver has no memory operations of 64 bits.
__global__ void spin_until(const volatile uint64_t* counter, const volatile uint64_t* base, uint64_t offset,
                           const volatile uint32_t* abort) {
  const uint64_t value = *base + offset;
  while (*counter < value && *abort == 0) __nanosleep(200);
  __threadfence_system();
}

__global__ void write_counter(volatile uint64_t* counter, const volatile uint64_t* base, uint64_t offset) {
  __threadfence_system();
  *counter = *base + offset;
}

}  // namespace

TimelineOperations::TimelineOperations(cudaStream_t stream, PinnedMemory pinned)
    : stream_(stream), pinned_(std::move(pinned)), base_(reinterpret_cast<uint64_t*>(pinned_.get())) {
  memory_operations_ = find_functions();
  if (memory_operations_) memory_operations_ = work_when_captured();
}

bool TimelineOperations::find_functions() {
  int supported = 0;
  const auto attribute = driver_function<PFN_cuDeviceGetAttribute_v2000>("cuDeviceGetAttribute");
  check_driver(attribute(&supported, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, kDevice), "describe itself");
  if (supported == 0) return false;
  wait_value_ = driver_function<PFN_cuStreamWaitValue64_v11070>("cuStreamWaitValue64");
  write_value_ = driver_function<PFN_cuStreamWriteValue64_v11070>("cuStreamWriteValue64");
  set_parameters_ =
      driver_function<PFN_cuGraphExecBatchMemOpNodeSetParams_v11070>("cuGraphExecBatchMemOpNodeSetParams");
  check_driver(driver_function<PFN_cuCtxGetCurrent_v4000>("cuCtxGetCurrent")(&context_), "tell its context");
  return true;
}

// A write, a wait for it, and a write behind that, replayed once with other values than it was captured with. Some
// drivers know memory operations and do not capture them, or forget to set one of the values: then it waits for ever.
bool TimelineOperations::work_when_captured() try {
  uint64_t* const counters = base_ + 1;
  CapturedStep::State step;
  const auto run = [&](uint64_t base) {
    set_base(base);
    if (step.graph == nullptr) {
      step.capture(stream_, [&] {
        raise(counters, base + 1, step.operations);
        await(counters, base + 1, nullptr, step.operations);
        raise(counters + 1, base + 2, step.operations);
      });
    }
    set_values(step.graph, step.operations);
    check(cudaGraphLaunch(step.graph, stream_), "try memory operations");
    const int64_t late_ns = monotonic_ns() + kTrialNs;
    while (cudaStreamQuery(stream_) == cudaErrorNotReady && monotonic_ns() < late_ns) std::this_thread::yield();
    const bool ended = cudaStreamQuery(stream_) != cudaErrorNotReady;
    if (!ended) std::atomic_ref(*counters).store(UINT64_MAX >> 1);
    check(cudaStreamSynchronize(stream_), "try memory operations");
    if (!ended) return false;
    const auto value_of = [](uint64_t* counter) { return std::atomic_ref(*counter).load(); };
    return value_of(counters) == base + 1 && value_of(counters + 1) == base + 2;
  };
  return run(10) && run(20);
} catch (const Error&) {
  return false;
}

void TimelineOperations::raise(uint64_t* counter, uint64_t value, std::vector<TimelineOperation>& operations) {
  if (!memory_operations_) {
    write_counter<<<1, 1, 0, stream_>>>(counter, base_, value - *base_);
    return check(cudaGetLastError(), "signal an executor");
  }
  const auto address = reinterpret_cast<CUdeviceptr>(counter);
  check_driver(write_value_(stream_, address, value, CU_STREAM_WRITE_VALUE_DEFAULT), "signal an executor");
  operations.push_back(captured(CU_STREAM_MEM_OP_WRITE_VALUE_64, address, value));
}

void TimelineOperations::await(uint64_t* counter, uint64_t value, const uint32_t* abort,
                               std::vector<TimelineOperation>& operations) {
  if (!memory_operations_) {
    spin_until<<<1, 1, 0, stream_>>>(counter, base_, value - *base_, abort);
    return check(cudaGetLastError(), "wait for an executor");
  }
  const auto address = reinterpret_cast<CUdeviceptr>(counter);
  check_driver(wait_value_(stream_, address, value, CU_STREAM_WAIT_VALUE_GEQ), "wait for an executor");
  operations.push_back(captured(CU_STREAM_MEM_OP_WAIT_VALUE_64, address, value));
}

void TimelineOperations::set_values(cudaGraphExec_t graph, std::vector<TimelineOperation>& operations) const {
  for (TimelineOperation& operation : operations) {
    CUstreamBatchMemOpParams& parameters = operation.parameters;
    const uint64_t value = *base_ + operation.offset;
    if (parameters.operation == CU_STREAM_MEM_OP_WAIT_VALUE_64) parameters.waitValue.value64 = value;
    else parameters.writeValue.value64 = value;
    CUDA_BATCH_MEM_OP_NODE_PARAMS node{};
    node.ctx = context_;
    node.count = 1;
    node.paramArray = &parameters;
    check_driver(set_parameters_(reinterpret_cast<CUgraphExec>(graph), operation.node, &node),
                 "set a captured step's values");
  }
}

CUgraphNode TimelineOperations::last_node() const {
  cudaStreamCaptureStatus status{};
  const cudaGraphNode_t* nodes = nullptr;
  size_t count = 0;
#if CUDART_VERSION >= 13000
  check(cudaStreamGetCaptureInfo(stream_, &status, nullptr, nullptr, &nodes, nullptr, &count), "capture a step");
#else
  check(cudaStreamGetCaptureInfo_v2(stream_, &status, nullptr, nullptr, &nodes, &count), "capture a step");
#endif
  if (status != cudaStreamCaptureStatusActive || count != 1) {
    throw Error(ErrorCode::internal, "a memory operation was not captured as one node");
  }
  return nodes[0];
}

// What was captured last.
TimelineOperation TimelineOperations::captured(CUstreamBatchMemOpType type, CUdeviceptr address, uint64_t value) const {
  TimelineOperation operation{last_node(), {}, value - *base_};
  operation.parameters.operation = type;
  if (type == CU_STREAM_MEM_OP_WAIT_VALUE_64) {
    operation.parameters.waitValue.address = address;
    operation.parameters.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
  } else {
    operation.parameters.writeValue.address = address;
    operation.parameters.writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
  }
  return operation;
}

}  // namespace thermocline::cuda
