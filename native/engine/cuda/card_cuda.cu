// A card with an NVIDIA driver. A step is captured once as a graph and replayed: between its layers no host thread has a
// part.
#include <cstring>
#include <optional>
#include <vector>

#include "../budget.h"
#include "captured_step.h"

namespace thermocline::cuda {
namespace {

// For a step that nobody holds up any more, without a signal from it. (A layer takes far less.)
constexpr int64_t kAbandonNs = 10'000'000'000;

bool has_happened(cudaEvent_t event) {
  const cudaError_t state = cudaEventQuery(event);
  if (state == cudaErrorNotReady) return false;
  check(state, "end a step");
  return true;
}

}  // namespace

struct Card::State {
  cudaStream_t stream = nullptr;
  std::vector<void*> device;
  std::byte* shared = nullptr;
  uintptr_t shared_offset = 0;
  std::vector<cudaEvent_t> marks;
  cudaEvent_t begun = nullptr, done = nullptr;
  int64_t begun_ns = 0, done_ns = 0;
  std::optional<TimelineOperations> timelines;
  CapturedStep::State* recording = nullptr;
  bool is_stuck = false;

  State() = default;
  ~State() {
    if (stream != nullptr) cudaStreamSynchronize(stream);
    if (shared != nullptr) cudaHostUnregister(shared);
    for (const cudaEvent_t event : marks) cudaEventDestroy(event);
    for (void* memory : device) cudaFree(memory);
    if (begun != nullptr) cudaEventDestroy(begun);
    if (done != nullptr) cudaEventDestroy(done);
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Card::Card() : state_(std::make_unique<State>()) {
  open_card();
  State& s = *state_;
  check(cudaFree(nullptr), "be opened");
  check(cudaStreamCreateWithFlags(&s.stream, cudaStreamNonBlocking), "make a stream");
  check(cudaEventCreate(&s.begun), "make an event");
  check(cudaEventCreate(&s.done), "make an event");
  s.timelines.emplace(s.stream, pinned_memory(TimelineOperations::kPinnedBytes));
}

Card::~Card() {
  // Whatever is asked of a stuck one would wait for ever.
  if (is_stuck()) state_.release();
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

// One address space for card and host: the card has it at the same address.
PinnedMemory Card::pinned_memory(uint64_t bytes) {
  if (bytes == 0) return nullptr;
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, bytes, cudaHostAllocMapped | cudaHostAllocPortable),
        ("pin " + mib(bytes) + " of the host's memory").c_str());
  return PinnedMemory(static_cast<std::byte*>(std::memset(memory, 0, bytes)));
}

void FreePinned::operator()(std::byte* memory) const { cudaFreeHost(memory); }

void Card::share(std::byte* memory, uint64_t bytes) {
  State& s = *state_;
  check(cudaHostRegister(memory, bytes, cudaHostRegisterMapped | cudaHostRegisterPortable), "map the arena");
  s.shared = memory;
  void* device = nullptr;
  check(cudaHostGetDevicePointer(&device, memory, 0), "map the arena");
  s.shared_offset = reinterpret_cast<uintptr_t>(device) - reinterpret_cast<uintptr_t>(memory);
}

void Card::unshare() noexcept {
  State& s = *state_;
  if (s.shared != nullptr && cudaHostUnregister(s.shared) != cudaSuccess) cudaGetLastError();
  s.shared = nullptr;
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

void Card::finish() { check(cudaStreamSynchronize(state_->stream), "end what it was given"); }

void Card::copy_in(void* device, const void* pinned, size_t bytes) {
  check(cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, state_->stream), "take a step's rows");
}

void Card::copy_out(void* pinned, const void* device, size_t bytes) {
  check(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, state_->stream), "give a step's counts");
}

// A semaphore begins with its counter.
void Card::raise(Semaphore& semaphore, uint64_t value) {
  CapturedStep::State& step = *state_->recording;
  step.watch.add_raised(semaphore);
  state_->timelines->raise(shared(reinterpret_cast<uint64_t*>(&semaphore)), value, step.operations);
}

WaitResult Card::await(Semaphore& semaphore, uint64_t value, const WaitLimits& limits) {
  CapturedStep::State& step = *state_->recording;
  step.watch.add_awaited(semaphore);
  state_->timelines->await(shared(reinterpret_cast<uint64_t*>(&semaphore)), value,
                           shared(reinterpret_cast<const uint32_t*>(limits.abort)), step.operations);
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

WaitResult Card::run(CapturedStep& step, uint64_t base, int64_t patience_ns, const std::atomic<uint32_t>& abort,
                     const std::function<void()>& enqueue) {
  State& s = *state_;
  s.timelines->set_base(base);
  if (step.state_ == nullptr) {
    auto captured = std::make_unique<CapturedStep::State>();
    s.recording = captured.get();
    captured->capture(s.stream, enqueue);
    s.recording = nullptr;
    step.state_ = std::move(captured);
  }
  CapturedStep::State& program = *step.state_;
  s.timelines->set_values(program.graph, program.operations);
  program.watch.begin();
  s.begun_ns = monotonic_ns();
  check(cudaEventRecord(s.begun, s.stream), "begin a step");
  check(cudaGraphLaunch(program.graph, s.stream), "begin a step");
  check(cudaEventRecord(s.done, s.stream), "begin a step");
  const WaitResult result = program.watch.wait([&] { return has_happened(s.done); }, patience_ns, abort);
  s.done_ns = monotonic_ns();
  return result;
}

void Card::abandon(const CapturedStep& step) {
  StepWatch& watch = step.state_->watch;
  watch.let_through();
  const std::atomic<uint32_t> never = 0;
  const auto is_done = [this] { return has_happened(state_->done); };
  if (watch.wait(is_done, kAbandonNs, never) == WaitResult::reached) return;
  state_->is_stuck = true;
  throw Error(ErrorCode::system, "the card does not come to the end of a step that was given up; restart this executor");
}

bool Card::is_stuck() const { return state_->is_stuck; }

// Where the card's clock stood when the step began is known to some microseconds: between the call and the start.
int64_t Card::marked_ns(size_t number) const {
  const State& s = *state_;
  float ms = 0;
  check(cudaEventElapsedTime(&ms, s.begun, s.marks[number]), "tell the time");
  const int64_t ns = s.begun_ns + static_cast<int64_t>(1e6 * static_cast<double>(ms));
  return ns < s.done_ns ? ns : s.done_ns;
}

}  // namespace thermocline::cuda
