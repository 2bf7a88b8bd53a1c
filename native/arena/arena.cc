#include "arena.h"

#include <algorithm>
#include <new>
#include <utility>

#include "failure_log.h"
#include "layout.h"
#include "random.h"
#include "shared_file.h"

namespace thermocline {
namespace {

constexpr uint32_t kSubmitted = 0;
constexpr uint32_t kCompleted = 1;
constexpr uint32_t kProgress = 2;

// The epoch is random and travels in private, so a file that holds it is the one the creator meant.
ArenaHeader checked_header(const SharedFile& file, uint64_t epoch) {
  const std::string arena = "arena " + file.name();
  ArenaHeader header;
  if (!file.read(&header, sizeof(header)) || header.magic != ArenaHeader::kMagic) {
    throw Error(ErrorCode::corrupt, arena + " does not start as arenas do");
  }
  if (header.version != ArenaHeader::kVersion) {
    throw Error(ErrorCode::corrupt, arena + " has version " + std::to_string(header.version) + ", and this build has " +
                                        std::to_string(ArenaHeader::kVersion) + ": run the same build everywhere");
  }
  if (header.epoch != epoch) throw Error(ErrorCode::corrupt, arena + " is of another epoch than expected", "epoch");
  ArenaLayout layout;
  try {
    layout = layout_of(header.options);
  } catch (const Error& error) {
    throw Error(ErrorCode::corrupt, arena + " lies about itself: " + error.what());
  }
  if (layout != header.layout) {
    throw Error(ErrorCode::corrupt, arena + " is laid out otherwise than in this build: run the same build everywhere");
  }
  if (file.size() != layout.bytes) {
    throw Error(ErrorCode::corrupt, arena + " has " + std::to_string(file.size()) + " bytes, not the " +
                                        std::to_string(layout.bytes) + " of its layout");
  }
  return header;
}

Error bad_row(uint32_t index, const char* field, const std::string& problem) {
  const std::string path = "rows[" + std::to_string(index) + "]." + field;
  return Error(ErrorCode::invalid_argument, path + " " + problem, path);
}

void check_rows(const StepRow* rows, uint32_t count, const ArenaOptions& options) {
  if (count < 1 || count > options.max_rows) {
    throw Error(ErrorCode::invalid_argument,
                "a step of " + std::to_string(count) + " rows: this arena takes 1 to " +
                    std::to_string(options.max_rows),
                "rows");
  }
  uint32_t logit_rows = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const StepRow& row = rows[i];
    if (row.token < 0 || std::cmp_greater_equal(row.token, options.vocab)) {
      throw bad_row(i, "token", "is " + std::to_string(row.token) + ": the vocabulary ends at " +
                                    std::to_string(options.vocab - 1));
    }
    if (row.position < 0) throw bad_row(i, "position", "is " + std::to_string(row.position) + ", less than 0");
    if (row.slot < 0) throw bad_row(i, "slot", "is " + std::to_string(row.slot) + ", less than 0");
    if (row.wants_logits != 0 && row.wants_logits != 1) throw bad_row(i, "wantsLogits", "is neither 0 nor 1");
    if (row.candidates < 0 || std::cmp_greater(row.candidates, kMostCandidates)) {
      throw bad_row(i, "candidates", "is " + std::to_string(row.candidates) + ": a row can ask for 0 (all) to " +
                                         std::to_string(kMostCandidates));
    }
    logit_rows += static_cast<uint32_t>(row.wants_logits);
  }
  if (logit_rows > options.max_logit_rows) {
    throw Error(ErrorCode::invalid_argument,
                "a step with " + std::to_string(logit_rows) + " rows that want logits: this arena takes " +
                    std::to_string(options.max_logit_rows),
                "rows");
  }
}

}  // namespace

struct Arena::State {
  std::unique_ptr<SharedFile> file;
  uint64_t epoch;
  ArenaOptions options;
  ArenaLayout layout;

  template <class T>
  T* at(uint64_t offset) const {
    return reinterpret_cast<T*>(file->data() + offset);
  }
  Semaphore& semaphore(uint32_t index) const { return at<Semaphore>(layout.semaphores)[index]; }
  StepDescriptor& descriptor() const { return *at<StepDescriptor>(layout.step); }
  StepRow* rows() const { return at<StepRow>(layout.step + sizeof(StepDescriptor)); }
  FailureLog& failures() const { return *at<FailureLog>(layout.failures); }
  void check_executor(uint32_t executor) const {
    if (executor < options.executors) return;
    throw Error(ErrorCode::invalid_argument,
                "executor " + std::to_string(executor) + " of an arena for " + std::to_string(options.executors),
                "executor");
  }
  void check_observed(uint32_t layer, Observation least) const {
    if (options.observation < least) {
      throw Error(ErrorCode::invalid_argument, "this arena was made without that observation", "options.observation");
    }
    if (layer < options.layers) return;
    throw Error(ErrorCode::invalid_argument,
                "layer " + std::to_string(layer) + " of an arena for " + std::to_string(options.layers), "layer");
  }
};

Arena::Arena(std::unique_ptr<State> state) : state_(std::move(state)) {}
Arena::~Arena() = default;

// The file's zeros are how semaphores, rings and the failure log start.
std::unique_ptr<Arena> Arena::create(const ArenaOptions& options) {
  const ArenaLayout layout = layout_of(options);
  auto file = SharedFile::create(layout.bytes);
  const uint64_t epoch = random_bits();
  new (file->data()) ArenaHeader{ArenaHeader::kMagic, ArenaHeader::kVersion, options, epoch, layout};
  return std::unique_ptr<Arena>(new Arena(std::make_unique<State>(State{std::move(file), epoch, options, layout})));
}

std::unique_ptr<Arena> Arena::attach(const std::string& name, uint64_t epoch) {
  auto file = SharedFile::open(name);
  const ArenaHeader header = checked_header(*file, epoch);
  file->map(header.layout.bytes);
  return std::unique_ptr<Arena>(
      new Arena(std::make_unique<State>(State{std::move(file), epoch, header.options, header.layout})));
}

std::byte* Arena::memory() const { return reinterpret_cast<std::byte*>(state_->file->data()); }
const std::string& Arena::name() const { return state_->file->name(); }
uint64_t Arena::epoch() const { return state_->epoch; }
size_t Arena::bytes() const { return state_->layout.bytes; }
const ArenaOptions& Arena::options() const { return state_->options; }
void Arena::unlink() { state_->file->unlink(); }

uint64_t Arena::submit(const StepRow* rows, uint32_t count, bool observed, uint64_t exchange) {
  check_rows(rows, count, state_->options);
  if (observed && state_->options.observation == Observation::none) {
    throw Error(ErrorCode::invalid_argument, "a step to observe, in an arena made without observation", "observed");
  }
  if (const auto reason = failure()) {
    throw Error(ErrorCode::aborted, "the arena takes no more steps: " + reason->message);
  }
  const uint64_t last = submitted().value();
  if (completed().value() != last) {
    throw Error(ErrorCode::invalid_argument, "step " + std::to_string(last) + " has not completed yet");
  }
  StepDescriptor& descriptor = state_->descriptor();
  descriptor.number = last + 1;
  descriptor.rows = count;
  descriptor.observed = observed ? 1 : 0;
  descriptor.exchange = exchange;
  std::copy_n(rows, count, state_->rows());
  submitted().signal(last + 1);
  return last + 1;
}

Step Arena::step() const {
  const StepDescriptor& descriptor = state_->descriptor();
  if (descriptor.rows > state_->options.max_rows) {
    throw Error(ErrorCode::corrupt, "step " + std::to_string(descriptor.number) + " claims " +
                                        std::to_string(descriptor.rows) + " rows in an arena for " +
                                        std::to_string(state_->options.max_rows));
  }
  const bool observed = descriptor.observed != 0 && state_->options.observation != Observation::none;
  return Step{descriptor.number, descriptor.rows, state_->rows(), observed, descriptor.exchange};
}

Semaphore& Arena::submitted() { return state_->semaphore(kSubmitted); }
Semaphore& Arena::completed() { return state_->semaphore(kCompleted); }
Semaphore& Arena::progress(uint32_t executor) {
  state_->check_executor(executor);
  return state_->semaphore(kProgress + executor);
}

void Arena::fail(const StepFailure& failure) {
  state_->failures().report(failure);
  for (uint32_t i = 0; i < kProgress + state_->options.executors; ++i) state_->semaphore(i).wake();
}
bool Arena::aborted() const { return abort_flag().load(std::memory_order_acquire) != 0; }
const std::atomic<uint32_t>& Arena::abort_flag() const { return state_->failures().first; }
std::optional<StepFailure> Arena::failure() const { return state_->failures().failure(); }

float* Arena::ffn_input() { return state_->at<float>(state_->layout.ffn_input); }
uint64_t* Arena::active_set() { return state_->at<uint64_t>(state_->layout.active_set); }
double* Arena::partial_sum(uint32_t executor) {
  state_->check_executor(executor);
  const uint64_t sums = uint64_t{state_->options.max_rows} * state_->options.embd;
  return state_->at<double>(state_->layout.partial_sums) + executor * sums;
}
float* Arena::residual() { return state_->at<float>(state_->layout.residual); }
float* Arena::logits() { return state_->at<float>(state_->layout.logits); }
Candidate* Arena::candidates() { return state_->at<Candidate>(state_->layout.candidates); }

uint32_t* Arena::fired_counts(uint32_t layer) {
  state_->check_observed(layer, Observation::counts);
  return state_->at<uint32_t>(state_->layout.fired_counts) + uint64_t{layer} * state_->options.ff;
}
float* Arena::fired_strengths(uint32_t layer) {
  state_->check_observed(layer, Observation::counts);
  return state_->at<float>(state_->layout.fired_strengths) + uint64_t{layer} * state_->options.ff;
}
float* Arena::predictor_input(uint32_t layer) {
  state_->check_observed(layer, Observation::activations);
  const uint64_t values = uint64_t{state_->options.max_rows} * state_->options.embd;
  return state_->at<float>(state_->layout.predictor_input) + layer * values;
}
uint64_t* Arena::fired_set(uint32_t executor, uint32_t layer) {
  state_->check_executor(executor);
  state_->check_observed(layer, Observation::activations);
  const uint64_t words = uint64_t{state_->options.max_rows} * ((uint64_t{state_->options.ff} + 63) / 64);
  const uint64_t layers_before = uint64_t{executor} * state_->options.layers + layer;
  return state_->at<uint64_t>(state_->layout.fired_sets) + layers_before * words;
}

TimingRing Arena::ring(uint32_t executor) {
  state_->check_executor(executor);
  const uint64_t start = state_->layout.rings + executor * state_->layout.ring_bytes;
  return TimingRing(state_->at<TimingRing::Header>(start),
                    state_->at<TimingRing::Slot>(start + sizeof(TimingRing::Header)),
                    static_cast<uint32_t>(state_->layout.ring_capacity));
}

std::vector<std::string> sweep_arenas() { return SharedFile::sweep(); }

}  // namespace thermocline
