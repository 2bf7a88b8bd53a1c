// The shared memory between the coordinator and the executors of one stack.
//
// Layout: header | semaphores | step descriptor | failure log | timing rings | activations | observations. Every region
// starts on a page; offsets follow from ArenaOptions alone, and each side that attaches computes them again and compares.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../error.h"
#include "semaphore.h"
#include "timing_ring.h"

namespace thermocline {

// What executors record of the steps that are observed.
enum class Observation : uint32_t {
  none,
  counts,       // how often and how strongly each neuron fired, added up until it is taken
  activations,  // that, and of each row what the predictor sees and which neurons fired
};

struct ArenaOptions {
  uint32_t executors;
  uint32_t layers;
  uint32_t embd;
  uint32_t ff;
  uint32_t vocab;
  uint32_t max_rows;
  uint32_t max_logit_rows;
  Observation observation = Observation::none;
};

struct StepRow {
  int32_t token;
  int32_t position;
  int32_t slot;
  int32_t wants_logits;    // 0 or 1
  int32_t candidates = 0;  // of them only so many of the highest; 0: all

  bool wants_all() const { return wants_logits != 0 && candidates == 0; }
  bool wants_some() const { return wants_logits != 0 && candidates != 0; }
};

// A token that may be next.
struct Candidate {
  int32_t token;
  float logit;
};

// Most candidates that a row can ask for.
inline constexpr uint32_t kMostCandidates = 128;

struct Step {
  uint64_t number;  // counts from 1
  uint32_t rows;
  const StepRow* row;
  bool observed;
  uint64_t exchange = 0;  // to be applied before the step is computed (engine/exchange.h); 0: none
};

struct StepFailure {
  int32_t executor;  // -1: the coordinator
  ErrorCode code;
  std::string message;
};

class Arena {
 public:
  static std::unique_ptr<Arena> create(const ArenaOptions& options);
  // Checks magic, version, size, epoch and that the layout is the one this build computes.
  static std::unique_ptr<Arena> attach(const std::string& name, uint64_t epoch);
  ~Arena();

  const std::string& name() const;
  uint64_t epoch() const;
  std::byte* memory() const;
  size_t bytes() const;
  const ArenaOptions& options() const;
  void unlink();  // idempotent

  // Coordinator: writes the step and raises submitted() to its number. Every executor has staged `exchange`, if it is
  // not 0. Throws `invalid-argument` naming the row at fault, or when the step before has not completed, or `observed` in
  // an arena without observation; `aborted` once the arena is.
  uint64_t submit(const StepRow* rows, uint32_t count, bool observed = false, uint64_t exchange = 0);
  // Executors: the step at hand; valid between submitted() and completed() reaching its number.
  Step step() const;

  Semaphore& submitted();                   // value: number of the last step submitted
  Semaphore& completed();                   // value: number of the last step completed
  Semaphore& progress(uint32_t executor);   // this executor's timeline within steps; see schedule.h

  // Ends every wait in every process, for good. The first failure stays; its message is cut to 512 bytes.
  void fail(const StepFailure& failure);
  bool aborted() const;
  const std::atomic<uint32_t>& abort_flag() const;
  std::optional<StepFailure> failure() const;

  // Regions, row-major. One layer at a time uses them: a layer's merge comes after every read of what it replaces.
  // Partial sums are f64, and the merge rounds once, so that it does not matter how a sum was divided.
  float* ffn_input();                      // [max_rows][embd] normed input of the FFN
  uint64_t* active_set();                  // [max_rows][(ff + 63) / 64] bit n: the predictor took neuron n for active
  double* partial_sum(uint32_t executor);  // [max_rows][embd] this executor's neurons' share of the FFN output
  float* residual();                       // [max_rows][embd] the residual, when it moves between executors
  float* logits();                         // [max_logit_rows][vocab] of the rows that want all, in order, then anything
  // [max_logit_rows][kMostCandidates] of the rows that want only some, in order: the highest logit first, the lower token
  // first among equals, NaNs before everything; no more than there are tokens.
  Candidate* candidates();
  TimingRing ring(uint32_t executor);

  // What was recorded of observed steps. A neuron's entries are its executor's to write, while a step is at work; between
  // steps the coordinator takes them and sets them to 0.
  uint32_t* fired_counts(uint32_t layer);    // [ff] rows the neuron fired for
  float* fired_strengths(uint32_t layer);    // [ff] sum of |hidden value| over them
  // Of the last observed step, with Observation::activations.
  float* predictor_input(uint32_t layer);    // [max_rows][embd] the residual before the FFN's norm
  uint64_t* fired_set(uint32_t executor, uint32_t layer);  // [max_rows][(ff + 63) / 64] of this executor's neurons

 private:
  struct State;
  explicit Arena(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Removes arenas from /dev/shm whose creator is dead: it holds an flock for as long as it lives, which also tells of
// creators in other pid namespaces. Returns their names.
std::vector<std::string> sweep_arenas();

}  // namespace thermocline
