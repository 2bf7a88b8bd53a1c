#include "load_weights.h"

#include <cstring>

#include "../../error.h"

namespace thermocline {
namespace {

// A few milliseconds of copying: often enough for a progress bar and for a prompt cancel.
constexpr uint64_t kReportBytes = 8 << 20;

class Reporter {
 public:
  Reporter(uint64_t total, const Progress& progress, const CancelFlag& cancel)
      : total_(total), progress_(progress), cancel_(cancel) {
    report();
  }

  void add(uint64_t bytes) {
    done_ += bytes;
    if (done_ - reported_ >= kReportBytes || done_ == total_) report();
  }

 private:
  void report() {
    if (cancel_.load(std::memory_order_relaxed)) {
      throw Error(ErrorCode::cancelled, "loading the weights was cancelled");
    }
    reported_ = done_;
    if (progress_) progress_(done_, total_);
  }

  uint64_t total_, done_ = 0, reported_ = 0;
  const Progress& progress_;
  const CancelFlag& cancel_;
};

// One byte a page brings the page in.
void touch(const std::byte* from, size_t bytes) {
  constexpr size_t kPage = 4096;
  for (size_t i = 0; i < bytes; i += kPage) (void)*static_cast<const volatile std::byte*>(from + i);
  (void)*static_cast<const volatile std::byte*>(from + bytes - 1);
}

}  // namespace

void load_weights(const WeightFile& file, const std::vector<Slice>& slices, const Progress& progress,
                  const CancelFlag& cancel) {
  uint64_t total = 0;
  for (const Slice& slice : slices) total += slice.total();
  Reporter reporter(total, progress, cancel);
  for (const Slice& slice : slices) {
    const uint64_t span = (slice.rows - 1) * slice.from_stride + slice.bytes;
    const std::byte* from = file.slice(slice.offset, span);
    file.will_need(slice.offset, span);
    for (size_t r = 0; r < slice.rows; ++r, from += slice.from_stride) {
      if (slice.to != nullptr) {
        std::memcpy(slice.to + r * slice.to_stride, from, slice.bytes);
      } else {
        touch(from, slice.bytes);
      }
      reporter.add(slice.bytes);
    }
  }
}

}  // namespace thermocline
