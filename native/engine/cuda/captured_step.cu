#include "captured_step.h"

#include <sys/prctl.h>
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
  if (captured != nullptr) cudaGraphDestroy(captured);
}

void CapturedStep::State::capture(cudaStream_t stream, const std::function<void()>& enqueue) {
  // Relaxed: the first launch of a kernel loads its code, which older drivers refuse under any other mode.
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capture a step");
  try {
    enqueue();
  } catch (...) {
    if (cudaStreamEndCapture(stream, &captured) != cudaSuccess) cudaGetLastError();  // else the next launch tells it
    throw;
  }
  check(cudaStreamEndCapture(stream, &captured), "capture a step");
  check(cudaGraphGetNodes(captured, nullptr, &nodes), "prepare a captured step");
  check(cudaGraphInstantiate(&graph, captured, 0), "prepare a captured step");
}

// The card's writes wake nobody, and nobody wakes this thread: it looks, and wakes who sleeps.
WaitResult CapturedStep::State::wait_for_end(cudaEvent_t done, const WaitLimits& limits) const {
  // A sleep of this thread, which others' wakes wait for, is not to be drawn out for the sake of few interrupts.
  ::prctl(PR_SET_TIMERSLACK, 1'000UL, 0UL, 0UL, 0UL);
  std::vector<uint64_t> seen;
  for (const Semaphore* semaphore : raised) seen.push_back(semaphore->value());
  const int64_t start_ns = monotonic_ns();
  for (;;) {
    const cudaError_t state = cudaEventQuery(done);
    for (size_t i = 0; i < raised.size(); ++i) {
      const uint64_t value = raised[i]->value();
      if (value == seen[i]) continue;
      seen[i] = value;
      raised[i]->wake();
    }
    if (state == cudaSuccess) return WaitResult::reached;
    if (state != cudaErrorNotReady) check(state, "end a step");
    const int64_t now_ns = monotonic_ns();
    if (limits.abort->load(std::memory_order_acquire) != 0) return WaitResult::aborted;
    if (now_ns > limits.deadline_ns) return WaitResult::timed_out;
    if (now_ns - start_ns > kSpinNs) sleep_ns(20'000);
  }
}

void CapturedStep::State::let_through() const {
  for (Semaphore* semaphore : awaited) semaphore->signal(UINT64_MAX >> 1);
}

}  // namespace thermocline::cuda
