// A card with an NVIDIA driver. A step is captured once as a graph and replayed: between its layers no host thread has a
// part. Other executors' timelines are words of the arena that the card itself waits for and writes, by memory
// operations of the stream (64-bit ones, where the driver has them), or else by kernels of one thread that spin.
#include <cuda.h>
#include <cudaTypedefs.h>
#include <cuda_runtime.h>
#include <time.h>

#include <atomic>
#include <cstring>
#include <map>
#include <vector>

#include "../../error.h"
#include "../budget.h"
#include "../spin.h"
#include "card.h"

namespace thermocline::cuda {
namespace {

void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  const ErrorCode code = result == cudaErrorMemoryAllocation ? ErrorCode::out_of_memory : ErrorCode::system;
  throw Error(code, std::string("the card failed to ") + what + ": " + cudaGetErrorString(result));
}

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

void check_driver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  throw Error(ErrorCode::system,
              std::string("the card's driver failed to ") + what + ": error " + std::to_string(result));
}

constexpr int kDevice = 0;
constexpr int kLeastCompute = 75;  // what the kernels are compiled for: Turing and newer

CardInfo describe() {
  int driver = 0, runtime = 0, count = 0;
  check(cudaDriverGetVersion(&driver), "tell its driver's version");
  check(cudaRuntimeGetVersion(&runtime), "tell the runtime's version");
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
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "tell its free memory");
  const int compute = 10 * properties.major + properties.minor;
  if (compute < kLeastCompute) {
    throw Error(ErrorCode::unsupported, std::string(properties.name) + " has compute capability " +
                                            std::to_string(properties.major) + "." + std::to_string(properties.minor) +
                                            ", and 7.5 is the least that can be used");
  }
  return {properties.name, total, free, static_cast<uint32_t>(properties.major),
          static_cast<uint32_t>(properties.minor), static_cast<uint32_t>(driver), static_cast<uint32_t>(runtime)};
}

// Where the driver has no memory operations of 64 bits.
__global__ void spin_until(const volatile uint64_t* counter, const volatile uint64_t* base, uint64_t offset,
                           const volatile uint32_t* abort) {
  const uint64_t value = *base + offset;
  while (*counter < value && *abort == 0) __nanosleep(200);
  __threadfence_system();
}

__global__ void write_value(volatile uint64_t* counter, const volatile uint64_t* base, uint64_t offset) {
  __threadfence_system();
  *counter = *base + offset;
}

void sleep_ns(long ns) {
  const timespec time{0, ns};
  ::nanosleep(&time, nullptr);
}

}  // namespace

struct Card::State {
  // A wait or a write of a captured step, whose value changes with every step.
  struct Operation {
    CUgraphNode node;
    CUstreamBatchMemOpParams parameters;
    uint64_t offset;  // of the value, from the run's base
  };
  // What was enqueued for a key.
  struct Program {
    cudaGraphExec_t graph = nullptr;
    std::vector<Operation> operations;
    std::vector<Semaphore*> raised, awaited;
  };

  cudaStream_t stream = nullptr;
  std::vector<void*> device, pinned;
  std::byte* shared = nullptr;
  uintptr_t shared_offset = 0;
  std::vector<cudaEvent_t> marks;
  cudaEvent_t begun = nullptr, done = nullptr;
  int64_t begun_ns = 0, done_ns = 0;
  std::map<uint64_t, Program> programs;
  Program* recording = nullptr;
  uint64_t base = 0;
  bool memory_operations = false;
  uint64_t* base_on_card = nullptr;  // for kernels that wait and write; in pinned memory
  const uint32_t* abort = nullptr;
  PFN_cuStreamWaitValue64_v11070 wait_value = nullptr;
  PFN_cuStreamWriteValue64_v11070 write_value = nullptr;
  PFN_cuGraphExecBatchMemOpNodeSetParams_v11070 set_parameters = nullptr;
  CUcontext context = nullptr;

  void forget_programs() {
    for (auto& [key, program] : programs) cudaGraphExecDestroy(program.graph);
    programs.clear();
  }

  // The node that was captured last.
  CUgraphNode last_node() {
    cudaStreamCaptureStatus status{};
    const cudaGraphNode_t* nodes = nullptr;
    size_t count = 0;
#if CUDART_VERSION >= 13000
    check(cudaStreamGetCaptureInfo(stream, &status, nullptr, nullptr, &nodes, nullptr, &count), "capture a step");
#else
    check(cudaStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count), "capture a step");
#endif
    if (status != cudaStreamCaptureStatusActive || count != 1) {
      throw Error(ErrorCode::internal, "a memory operation was not captured as one node");
    }
    return nodes[0];
  }

  void record(CUstreamBatchMemOpType type, CUdeviceptr address, uint64_t value) {
    Operation operation{last_node(), {}, value - base};
    operation.parameters.operation = type;
    if (type == CU_STREAM_MEM_OP_WAIT_VALUE_64) {
      operation.parameters.waitValue.address = address;
      operation.parameters.waitValue.flags = CU_STREAM_WAIT_VALUE_GEQ;
    } else {
      operation.parameters.writeValue.address = address;
      operation.parameters.writeValue.flags = CU_STREAM_WRITE_VALUE_DEFAULT;
    }
    recording->operations.push_back(operation);
  }

  void capture(Program& program, const std::function<void()>& enqueue) {
    recording = &program;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture a step");
    cudaGraph_t graph = nullptr;
    try {
      enqueue();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph != nullptr) cudaGraphDestroy(graph);
      recording = nullptr;
      throw;
    }
    recording = nullptr;
    check(cudaStreamEndCapture(stream, &graph), "capture a step");
    const cudaError_t result = cudaGraphInstantiate(&program.graph, graph, 0);
    cudaGraphDestroy(graph);
    check(result, "prepare a captured step");
  }

  void set_values(Program& program) {
    for (Operation& operation : program.operations) {
      CUstreamBatchMemOpParams& parameters = operation.parameters;
      const uint64_t value = base + operation.offset;
      if (parameters.operation == CU_STREAM_MEM_OP_WAIT_VALUE_64) parameters.waitValue.value64 = value;
      else parameters.writeValue.value64 = value;
      CUDA_BATCH_MEM_OP_NODE_PARAMS node{};
      node.ctx = context;
      node.count = 1;
      node.paramArray = &parameters;
      check_driver(set_parameters(reinterpret_cast<CUgraphExec>(program.graph), operation.node, &node),
                   "set a captured step's values");
    }
  }

  // The card's writes wake nobody, and nobody wakes this thread: it looks, and wakes who sleeps.
  WaitResult wait_for_end(Program& program, const WaitLimits& limits) {
    std::vector<uint64_t> seen;
    for (const Semaphore* semaphore : program.raised) seen.push_back(semaphore->value());
    const int64_t start_ns = monotonic_ns();
    WaitResult result = WaitResult::reached;
    for (;;) {
      const cudaError_t state = cudaEventQuery(done);
      for (size_t i = 0; i < program.raised.size(); ++i) {
        const uint64_t value = program.raised[i]->value();
        if (value == seen[i]) continue;
        seen[i] = value;
        program.raised[i]->wake();
      }
      if (state == cudaSuccess) return result;
      if (state != cudaErrorNotReady) check(state, "end a step");
      const int64_t now_ns = monotonic_ns();
      const bool aborted = limits.abort->load(std::memory_order_relaxed) != 0;
      if (result == WaitResult::reached && (aborted || now_ns > limits.deadline_ns)) {
        result = aborted ? WaitResult::aborted : WaitResult::timed_out;
        // The arena is lost to everybody: what the card still waits for is let through, so that it comes to an end.
        for (Semaphore* semaphore : program.awaited) semaphore->signal(UINT64_MAX >> 1);
      }
      if (now_ns - start_ns > kSpinNs) sleep_ns(20'000);
    }
  }
};

CardInfo Card::probe() { return describe(); }

Card::Card() : state_(std::make_unique<State>()) {
  describe();
  State& s = *state_;
  check(cudaFree(nullptr), "be opened");
  check(cudaStreamCreateWithFlags(&s.stream, cudaStreamNonBlocking), "make a stream");
  check(cudaEventCreate(&s.begun), "make an event");
  check(cudaEventCreate(&s.done), "make an event");
  int supported = 0;
  const auto attribute = driver_function<PFN_cuDeviceGetAttribute_v2000>("cuDeviceGetAttribute");
  check_driver(attribute(&supported, CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS, kDevice), "describe itself");
  s.memory_operations = supported != 0;
  if (s.memory_operations) {
    s.wait_value = driver_function<PFN_cuStreamWaitValue64_v11070>("cuStreamWaitValue64");
    s.write_value = driver_function<PFN_cuStreamWriteValue64_v11070>("cuStreamWriteValue64");
    s.set_parameters =
        driver_function<PFN_cuGraphExecBatchMemOpNodeSetParams_v11070>("cuGraphExecBatchMemOpNodeSetParams");
    check_driver(driver_function<PFN_cuCtxGetCurrent_v4000>("cuCtxGetCurrent")(&s.context), "tell its context");
  }
  s.base_on_card = reinterpret_cast<uint64_t*>(pinned_memory(sizeof(uint64_t)));
}

Card::~Card() {
  State& s = *state_;
  if (s.stream != nullptr) cudaStreamSynchronize(s.stream);
  s.forget_programs();
  if (s.shared != nullptr) cudaHostUnregister(s.shared);
  for (const cudaEvent_t event : s.marks) cudaEventDestroy(event);
  for (void* memory : s.device) cudaFree(memory);
  for (void* memory : s.pinned) cudaFreeHost(memory);
  if (s.begun != nullptr) cudaEventDestroy(s.begun);
  if (s.done != nullptr) cudaEventDestroy(s.done);
  if (s.stream != nullptr) cudaStreamDestroy(s.stream);
}

Stream Card::stream() const { return state_->stream; }

std::byte* Card::device_memory(uint64_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), ("give " + mib(bytes) + " of its memory").c_str());
  state_->device.push_back(memory);
  clear(memory, bytes);
  return static_cast<std::byte*>(memory);
}

std::byte* Card::pinned_memory(uint64_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable), "pin memory of the host");
  state_->pinned.push_back(memory);
  return static_cast<std::byte*>(std::memset(memory, 0, bytes));
}

void Card::share(std::byte* memory, uint64_t bytes) {
  State& s = *state_;
  // Graphs have the old memory's addresses in them.
  s.forget_programs();
  if (s.shared != nullptr) check(cudaHostUnregister(s.shared), "let go of the arena");
  s.shared = nullptr;
  if (bytes == 0) return;
  check(cudaHostRegister(memory, bytes, cudaHostRegisterMapped | cudaHostRegisterPortable), "map the arena");
  s.shared = memory;
  void* device = nullptr;
  check(cudaHostGetDevicePointer(&device, memory, 0), "map the arena");
  s.shared_offset = reinterpret_cast<uintptr_t>(device) - reinterpret_cast<uintptr_t>(memory);
}

uintptr_t Card::shared_offset() const { return state_->shared_offset; }

void Card::upload(const void* to, const std::byte* from, size_t bytes) {
  check(cudaMemcpy(const_cast<void*>(to), from, bytes, cudaMemcpyHostToDevice), "take weights");
}

void Card::clear(void* memory, size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemset(memory, 0, bytes), "clear memory");
  check(cudaDeviceSynchronize(), "clear memory");
}

void Card::copy_in(void* device, const void* pinned, size_t bytes) {
  check(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, state_->stream), "take a step's rows");
}

void Card::copy_out(void* pinned, const void* device, size_t bytes) {
  check(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, state_->stream), "give a step's counts");
}

void Card::raise(Semaphore& semaphore, uint64_t value) {
  State& s = *state_;
  s.recording->raised.push_back(&semaphore);
  // A semaphore begins with its counter.
  uint64_t* counter = shared(reinterpret_cast<uint64_t*>(&semaphore));
  if (!s.memory_operations) {
    write_value<<<1, 1, 0, s.stream>>>(counter, s.base_on_card, value - s.base);
    return check(cudaGetLastError(), "signal an executor");
  }
  const auto address = reinterpret_cast<CUdeviceptr>(counter);
  check_driver(s.write_value(s.stream, address, value, CU_STREAM_WRITE_VALUE_DEFAULT), "signal an executor");
  s.record(CU_STREAM_MEM_OP_WRITE_VALUE_64, address, value);
}

WaitResult Card::await(Semaphore& semaphore, uint64_t value, const WaitLimits& limits) {
  State& s = *state_;
  s.recording->awaited.push_back(&semaphore);
  uint64_t* counter = shared(reinterpret_cast<uint64_t*>(&semaphore));
  if (!s.memory_operations) {
    const auto* abort = shared(reinterpret_cast<const uint32_t*>(limits.abort));
    spin_until<<<1, 1, 0, s.stream>>>(counter, s.base_on_card, value - s.base, abort);
    check(cudaGetLastError(), "wait for an executor");
    return WaitResult::reached;
  }
  const auto address = reinterpret_cast<CUdeviceptr>(counter);
  check_driver(s.wait_value(s.stream, address, value, CU_STREAM_WAIT_VALUE_GEQ), "wait for an executor");
  s.record(CU_STREAM_MEM_OP_WAIT_VALUE_64, address, value);
  return WaitResult::reached;
}

void Card::mark(size_t number) {
  State& s = *state_;
  while (s.marks.size() <= number) {
    cudaEvent_t event = nullptr;
    check(cudaEventCreate(&event), "make an event");
    s.marks.push_back(event);
  }
  check(cudaEventRecordWithFlags(s.marks[number], s.stream, cudaEventRecordExternal), "take the time");
}

WaitResult Card::run(uint64_t key, uint64_t base, const WaitLimits& limits, const std::function<void()>& enqueue) {
  State& s = *state_;
  s.base = base;
  *s.base_on_card = base;
  const auto [at, is_new] = s.programs.try_emplace(key);
  State::Program& program = at->second;
  try {
    if (is_new) s.capture(program, enqueue);
    s.set_values(program);
  } catch (...) {
    if (program.graph != nullptr) cudaGraphExecDestroy(program.graph);
    s.programs.erase(at);
    throw;
  }
  s.begun_ns = monotonic_ns();
  check(cudaEventRecord(s.begun, s.stream), "begin a step");
  check(cudaGraphLaunch(program.graph, s.stream), "begin a step");
  check(cudaEventRecord(s.done, s.stream), "begin a step");
  const WaitResult result = s.wait_for_end(program, limits);
  s.done_ns = monotonic_ns();
  return result;
}

// Where the card's clock stood when the step began is known to some microseconds: between the call and the start.
int64_t Card::marked_ns(size_t number) const {
  const State& s = *state_;
  float ms = 0;
  check(cudaEventElapsedTime(&ms, s.begun, s.marks[number]), "tell the time");
  const int64_t ns = s.begun_ns + static_cast<int64_t>(1e6 * static_cast<double>(ms));
  return ns < s.done_ns ? ns : s.done_ns;
}

}  // namespace thermocline::cuda
