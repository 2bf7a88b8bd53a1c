// Other executors' timelines in a stream that is being captured: words of the arena that the card itself waits for and
// writes, by memory operations of the stream (64-bit ones, where the driver has them), or else by kernels of one thread
// that spin.
#pragma once

#include <vector>

#include "card.h"
#include "driver.h"

namespace thermocline::cuda {

// A wait or a write of a captured step, whose value changes with every step.
struct TimelineOperation {
  CUgraphNode node;
  CUstreamBatchMemOpParams parameters;
  uint64_t offset;  // of the value, from the run's base
};

class TimelineOperations {
 public:
  // Tries out whether memory operations can be captured and set anew; else they are kernels. `pinned` has room for the
  // numbers that the card reads, and for those of the trial.
  static constexpr size_t kPinnedBytes = 3 * sizeof(uint64_t);
  TimelineOperations(cudaStream_t stream, PinnedMemory pinned);

  bool are_memory_operations() const { return memory_operations_; }

  // The base that values of the next replay, or of what is captured now, are offsets from.
  void set_base(uint64_t base) { *base_ = base; }

  // Captured. What is to be set anew for each replay is added to `operations`. Addresses are the card's.
  void raise(uint64_t* counter, uint64_t value, std::vector<TimelineOperation>& operations);
  void await(uint64_t* counter, uint64_t value, const uint32_t* abort, std::vector<TimelineOperation>& operations);

  void set_values(cudaGraphExec_t graph, std::vector<TimelineOperation>& operations) const;

 private:
  bool find_functions();
  bool work_when_captured();
  CUgraphNode last_node() const;
  TimelineOperation captured(CUstreamBatchMemOpType type, CUdeviceptr address, uint64_t value) const;

  cudaStream_t stream_;
  PinnedMemory pinned_;
  uint64_t* base_;
  bool memory_operations_ = false;
  PFN_cuStreamWaitValue64_v11070 wait_value_ = nullptr;
  PFN_cuStreamWriteValue64_v11070 write_value_ = nullptr;
  PFN_cuGraphExecBatchMemOpNodeSetParams_v11070 set_parameters_ = nullptr;
  CUcontext context_ = nullptr;
};

}  // namespace thermocline::cuda
