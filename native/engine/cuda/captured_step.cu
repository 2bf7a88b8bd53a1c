#include "captured_step.h"

namespace thermocline::cuda {

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

}  // namespace thermocline::cuda
