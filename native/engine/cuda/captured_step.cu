#include "captured_step.h"

#include <time.h>

#include "../spin.h"

namespace thermocline::cuda {
namespace {

void sleep_ns(long ns) {
  const timespec time{0, ns};
  ::nanosleep(&time, nullptr);
}

}  // namespace

CapturedStep::CapturedStep() = default;
CapturedStep::~CapturedStep() = default;
size_t CapturedStep::operations() const { return state_ == nullptr ? 0 : state_->nodes; }

CapturedStep::State::~State() {
  if (graph != nullptr) cudaGraphExecDestroy(graph);
}

void CapturedStep::State::capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture a step");
  cudaGraph_t captured = nullptr;
  try {
    enqueue();
  } catch (...) {
    cudaStreamEndCapture(stream, &captured);
    if (captured != nullptr) cudaGraphDestroy(captured);
    throw;
  }
  check(cudaStreamEndCapture(stream, &captured), "capture a step");
  cudaError_t result = cudaGraphGetNodes(captured, nullptr, &nodes);
  if (result == cudaSuccess) result = cudaGraphInstantiate(&graph, captured, 0);
  cudaGraphDestroy(captured);
  check(result, "prepare a captured step");
}

// The card's writes wake nobody, and nobody wakes this thread: it looks, and wakes who sleeps.
WaitResult CapturedStep::State::wait_for_end(cudaEvent_t done, const WaitLimits& limits) {
  std::vector<uint64_t> seen;
  for (const Semaphore* semaphore : raised) seen.push_back(semaphore->value());
  const int64_t start_ns = monotonic_ns();
  WaitResult result = WaitResult::reached;
  for (;;) {
    const cudaError_t state = cudaEventQuery(done);
    for (size_t i = 0; i < raised.size(); ++i) {
      const uint64_t value = raised[i]->value();
      if (value == seen[i]) continue;
      seen[i] = value;
      raised[i]->wake();
    }
    if (state == cudaSuccess) return result;
    if (state != cudaErrorNotReady) check(state, "end a step");
    const int64_t now_ns = monotonic_ns();
    const bool aborted = limits.abort->load(std::memory_order_relaxed) != 0;
    if (result == WaitResult::reached && (aborted || now_ns > limits.deadline_ns)) {
      result = aborted ? WaitResult::aborted : WaitResult::timed_out;
      // The arena is lost to everybody: what the card still waits for is let through, so that it comes to an end.
      for (Semaphore* semaphore : awaited) semaphore->signal(UINT64_MAX >> 1);
    }
    if (now_ns - start_ns > kSpinNs) sleep_ns(20'000);
  }
}

}  // namespace thermocline::cuda
