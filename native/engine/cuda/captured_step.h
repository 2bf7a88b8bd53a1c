// A step as a graph of the driver's.
#pragma once

#include <vector>

#include "timeline_operations.h"

namespace thermocline::cuda {

struct CapturedStep::State {
  cudaGraph_t captured = nullptr;  // its nodes are the operations'
  cudaGraphExec_t graph = nullptr;
  size_t nodes = 0;
  std::vector<TimelineOperation> operations;
  std::vector<Semaphore*> raised, awaited;

  State() = default;
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  // What `enqueue` enqueues into the stream becomes the graph.
  void capture(cudaStream_t stream, const std::function<void()>& enqueue);
  // Returns when the event `done`, which is behind the graph, has happened, or else what kept it from that.
  WaitResult wait_for_end(cudaEvent_t done, const WaitLimits& limits) const;
  // Raises all that the graph waits for.
  void let_through() const;
};

}  // namespace thermocline::cuda
