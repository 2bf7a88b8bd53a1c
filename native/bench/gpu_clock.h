// How long kernels take by the card's own clock.
#pragma once

#include <functional>

#include "gpu_matrices.h"

namespace thermocline::bench {

// Times what is enqueued, as the engine runs it: captured once, replayed without the host between.
class CardClock {
 public:
  CardClock() {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "make a stream");
    check(cudaEventCreate(&begun_), "make an event");
    check(cudaEventCreate(&done_), "make an event");
  }
  ~CardClock() {
    cudaEventDestroy(begun_);
    cudaEventDestroy(done_);
    cudaStreamDestroy(stream_);
  }
  CardClock(const CardClock&) = delete;
  CardClock& operator=(const CardClock&) = delete;

  cuda::Stream stream() const { return stream_; }

  // Microseconds of enqueue(i): the median of kBatches batches, each long enough for the clock, in which i counts up to
  // `copies` again and again.
  double microseconds(size_t copies, const std::function<void(size_t)>& enqueue) {
    enqueue(0);
    check(cudaStreamSynchronize(stream_), "run a kernel");
    const size_t each = (kLeastCaptured + copies - 1) / copies * copies;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t replay = nullptr;
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture kernels");
    for (size_t i = 0; i < each; ++i) enqueue(i % copies);
    check(cudaStreamEndCapture(stream_, &graph), "capture kernels");
    check(cudaGraphInstantiate(&replay, graph, 0), "prepare captured kernels");
    cudaGraphDestroy(graph);
    // The first takes the card's clocks up.
    size_t replays = 1;
    double took_us = 0;
    for (;; replays *= 2) {
      took_us = batch_us(replay, replays);
      if (took_us >= kBatchUs || replays >= kMostReplays) break;
    }
    std::vector<double> batches;
    for (size_t b = 0; b < kBatches; ++b) {
      batches.push_back(batch_us(replay, replays) / static_cast<double>(replays * each));
    }
    cudaGraphExecDestroy(replay);
    std::nth_element(batches.begin(), batches.begin() + kBatches / 2, batches.end());
    return batches[kBatches / 2];
  }

 private:
  static constexpr size_t kBatches = 15, kLeastCaptured = 16, kMostReplays = 1 << 14;
  static constexpr double kBatchUs = 20'000;

  double batch_us(cudaGraphExec_t replay, size_t replays) {
    check(cudaEventRecord(begun_, stream_), "take the time");
    for (size_t i = 0; i < replays; ++i) check(cudaGraphLaunch(replay, stream_), "replay kernels");
    check(cudaEventRecord(done_, stream_), "take the time");
    check(cudaEventSynchronize(done_), "run kernels");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begun_, done_), "tell the time");
    return 1000 * static_cast<double>(ms);
  }

  cudaStream_t stream_ = nullptr;
  cudaEvent_t begun_ = nullptr, done_ = nullptr;
};

}  // namespace thermocline::bench
