#include "load_weights.h"

#include <algorithm>
#include <cstring>

#include "../../error.h"

namespace thermocline {
namespace {

// Some ten milliseconds of copying: often enough for a progress bar and for a prompt cancel, and long enough to keep all
// threads busy.
constexpr uint64_t kBytesAtATime = 64 << 20;

class Reporter {
 public:
  Reporter(uint64_t total, const Progress& progress, const CancelFlag& cancel)
      : total_(total), progress_(progress), cancel_(cancel) {
    report();
  }

  void add(uint64_t bytes) {
    done_ += bytes;
    report();
  }

 private:
  void report() {
    if (cancel_.load(std::memory_order_relaxed)) {
      throw Error(ErrorCode::cancelled, "loading the weights was cancelled");
    }
    if (progress_) progress_(done_, total_);
  }

  uint64_t total_, done_ = 0;
  const Progress& progress_;
  const CancelFlag& cancel_;
};

// A panel's worth of rows, from row `first` on.
void load_group(const WeightFile& file, const Copy& copy, size_t first, size_t count) {
  const std::byte* rows[kPanelRows];
  for (size_t r = 0; r < count; ++r) rows[r] = file.data() + copy.from(first + r);
  if (copy.to == nullptr) {
    for (size_t r = 0; r < count; ++r) page_in(rows[r], copy.bytes);
  } else if (copy.layout == Layout::panels) {
    const size_t cols = copy.bytes / row_bytes(copy.type, block_elements(copy.type)) * block_elements(copy.type);
    pack_panel(copy.type, rows, count, cols, copy.to + first / kPanelRows * copy.to_stride);
  } else {
    for (size_t r = 0; r < count; ++r) std::memcpy(copy.to + (first + r) * copy.to_stride, rows[r], copy.bytes);
  }
}

void load_copy(const WeightFile& file, const Copy& copy, ThreadPool& pool, Reporter& reporter) {
  const uint64_t begin = copy.from(0);
  const uint64_t span = copy.from(copy.rows - 1) + copy.bytes - begin;
  file.slice(begin, span);
  file.will_need(begin, span);
  const size_t at_once = std::max<size_t>(1, kBytesAtATime / (copy.bytes * kPanelRows)) * kPanelRows;
  for (size_t first = 0; first < copy.rows; first += at_once) {
    const size_t count = std::min(at_once, copy.rows - first);
    pool.parallel_chunks((count + kPanelRows - 1) / kPanelRows, 1, [&](size_t from, size_t to, uint32_t) {
      for (size_t row = from * kPanelRows; row < std::min(count, to * kPanelRows); row += kPanelRows) {
        load_group(file, copy, first + row, std::min(kPanelRows, count - row));
      }
    });
    reporter.add(count * copy.bytes);
  }
  if (copy.to != nullptr) file.let_go(begin, span);
}

}  // namespace

// One byte a page brings the page in.
void page_in(const std::byte* from, size_t bytes) {
  constexpr size_t kPage = 4096;
  for (size_t i = 0; i < bytes; i += kPage) (void)*static_cast<const volatile std::byte*>(from + i);
  (void)*static_cast<const volatile std::byte*>(from + bytes - 1);
}

void load_weights(const WeightFile& file, const std::vector<Copy>& copies, ThreadPool& pool, const Progress& progress,
                  const CancelFlag& cancel) {
  uint64_t total = 0;
  for (const Copy& copy : copies) total += copy.total();
  Reporter reporter(total, progress, cancel);
  for (const Copy& copy : copies) load_copy(file, copy, pool, reporter);
}

}  // namespace thermocline
