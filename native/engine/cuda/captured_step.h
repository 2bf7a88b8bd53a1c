// A step as a graph of the driver's.
#pragma once

#include <vector>

#include "step_watch.h"
#include "timeline_operations.h"

namespace thermocline::cuda {

struct CapturedStep::State {
  cudaGraph_t captured = nullptr;  // its nodes are the operations'
  cudaGraphExec_t graph = nullptr;
  size_t nodes = 0;
  std::vector<TimelineOperation> operations;
  StepWatch watch;

  State() = default;
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // What `enqueue` enqueues into the stream becomes the graph.
  void capture(cudaStream_t stream, const std::function<void()>& enqueue);
};

}  // namespace thermocline::cuda
