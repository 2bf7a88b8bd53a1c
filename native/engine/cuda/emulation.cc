#include "emulation.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fiber.h"

namespace thermocline::cuda::emulated {
namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kMostThreads = 1024;      // a block, on every card
constexpr size_t kMostSharedBytes = 227 << 10;  // on the largest; consumer cards have 99 KiB

enum class State { runnable, at_block, at_warp, finished };

struct Thread {
  Fiber fiber;
  State state;
  unsigned exchanges;  // begun by this thread
};

// One block after the other; fibers' stacks are kept.
class Block {
 public:
  void run(const Launch& launch, Extent index, const std::function<void()>& kernel);

  const Place& place() const { return place_; }
  std::byte* shared() { return shared_.get(); }

  // Gives way to other threads until all have come as far.
  void wait(State at) {
    threads_[current_].state = at;
    release(at);
    threads_[current_].fiber.yield();
  }

  const uint64_t* exchange(uint64_t mine) {
    Thread& thread = threads_[current_];
    // A lane may begin the next exchange before others have read this one, but not the one after that.
    uint64_t* values = exchanged_[current_ / kLanes][thread.exchanges++ % 2];
    values[current_ % kLanes] = mine;
    wait(State::at_warp);
    return values;
  }

 private:
  static void enter();
  void release(State at);

  void make_runnable(unsigned thread) {
    threads_[thread].state = State::runnable;
    runnable_.push_back(thread);
  }

  unsigned take_next() {
    if (runnable_.empty()) {
      throw Fault("the threads of a block wait at different barriers, or for some that have ended");
    }
    std::swap(runnable_[random_() % runnable_.size()], runnable_.back());
    const unsigned thread = runnable_.back();
    runnable_.pop_back();
    return thread;
  }

  Place place_{};
  const std::function<void()>* kernel_ = nullptr;
  std::deque<Thread> threads_;
  std::vector<unsigned> runnable_;
  std::unique_ptr<std::byte[]> shared_;
  uint64_t exchanged_[kMostThreads / kLanes][2][kLanes];
  unsigned current_ = 0, finished_ = 0;
  std::exception_ptr thrown_;
  std::minstd_rand random_{1};
};

thread_local Block* running = nullptr;

Block& block() {
  if (running == nullptr) throw Fault("code of a kernel was called outside of a launch");
  return *running;
}

void Block::run(const Launch& launch, Extent index, const std::function<void()>& kernel) {
  place_ = {launch.grid, index, launch.threads, 0};
  kernel_ = &kernel;
  // Exactly as large as the launch said, for the address sanitizer; all bits set are a NaN in every float format.
  shared_ = std::make_unique_for_overwrite<std::byte[]>(launch.shared_bytes);
  if (launch.shared_bytes > 0) std::memset(shared_.get(), 0xff, launch.shared_bytes);
  while (threads_.size() < launch.threads) threads_.emplace_back();
  finished_ = 0;
  runnable_.clear();
  for (unsigned t = 0; t < launch.threads; ++t) {
    threads_[t].exchanges = 0;
    threads_[t].fiber.start(&Block::enter);
    make_runnable(t);
  }
  while (finished_ < launch.threads && !thrown_) {
    current_ = place_.thread = take_next();
    threads_[current_].fiber.resume();
  }
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

void Block::enter() {
  Block& block = *running;
  // Its place does not move while others of the block run.
  Thread& self = block.threads_[block.current_];
  self.fiber.entered();
  try {
    (*block.kernel_)();
  } catch (...) {
    if (!block.thrown_) block.thrown_ = std::current_exception();
  }
  self.state = State::finished;
  ++block.finished_;
  self.fiber.finish();
}

// Lets threads go on once all of them wait.
void Block::release(State at) {
  const unsigned first = at == State::at_warp ? current_ / kLanes * kLanes : 0;
  const unsigned last = at == State::at_warp ? first + kLanes : place_.threads;
  for (unsigned t = first; t < last; ++t) {
    if (threads_[t].state != at) return;
  }
  for (unsigned t = first; t < last; ++t) make_runnable(t);
}

void check(const Launch& launch) {
  const auto refuse = [](const std::string& what) { throw Fault("no card takes this launch: " + what); };
  if (launch.threads < 1 || launch.threads > kMostThreads || launch.threads % kLanes != 0) {
    refuse(std::to_string(launch.threads) + " threads a block; it must be whole warps, at most 1024");
  }
  if (launch.grid.x < 1 || launch.grid.y < 1 || launch.grid.x > 0x7fffffffu || launch.grid.y > 0xffffu) {
    refuse("a grid of " + std::to_string(launch.grid.x) + " x " + std::to_string(launch.grid.y));
  }
  if (launch.shared_bytes > kMostSharedBytes) refuse(std::to_string(launch.shared_bytes) + " bytes of shared memory");
}

}  // namespace

void run(const Launch& launch, const std::function<void()>& kernel) {
  check(launch);
  if (running != nullptr) throw Fault("a kernel was launched from within a kernel");
  static thread_local Block block;
  struct Running {
    explicit Running(Block& block) { running = &block; }
    ~Running() { running = nullptr; }
  } scope(block);
  for (unsigned y = 0; y < launch.grid.y; ++y) {
    for (unsigned x = 0; x < launch.grid.x; ++x) block.run(launch, {x, y}, kernel);
  }
}

const Place& place() { return block().place(); }
std::byte* shared_memory() { return block().shared(); }
void sync_threads() { block().wait(State::at_block); }
void sync_warp() { block().wait(State::at_warp); }
const uint64_t* exchange(uint64_t mine) { return block().exchange(mine); }

}  // namespace thermocline::cuda::emulated
