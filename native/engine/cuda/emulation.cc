#include "emulation.h"

#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace thermocline::cuda::emulated {
namespace {

constexpr unsigned kLanes = 32;
constexpr size_t kStackBytes = 256 << 10;
constexpr unsigned kMostThreads = 1024;      // a block, on every card
constexpr size_t kMostSharedBytes = 227 << 10;  // on the largest; consumer cards have 99 KiB

enum class State { runnable, at_block, at_warp, finished };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  State state;
  unsigned exchanges;          // begun by this thread
  void* sanitizer = nullptr;   // its stack's own fake stack
};

// One block after the other; fibers' stacks are kept.
class Block {
 public:
  void run(const Launch& launch, Extent index, const std::function<void()>& kernel);

  const Place& place() const { return place_; }
  std::byte* shared() { return shared_.get(); }

  // Gives way to other threads until all have come as far.
  void wait(State at) {
    fibers_[current_].state = at;
    release(at);
    if (fibers_[current_].state != State::runnable) yield();
  }

  const uint64_t* exchange(uint64_t mine) {
    Fiber& fiber = fibers_[current_];
    // A lane may begin the next exchange before others have read this one, but not the one after that.
    uint64_t* values = exchanged_[current_ / kLanes][fiber.exchanges++ % 2];
    values[current_ % kLanes] = mine;
    wait(State::at_warp);
    return values;
  }

 private:
  static void enter();
  void start(unsigned thread);
  void resume(unsigned thread);
  void yield();
  void finish();
  void release(State at);
  unsigned next() {
    std::vector<unsigned> ready;
    for (unsigned t = 0; t < place_.threads; ++t) {
      if (fibers_[t].state == State::runnable) ready.push_back(t);
    }
    if (ready.empty()) throw Fault("the threads of a block wait at different barriers, or for some that have ended");
    return ready[random_() % ready.size()];
  }

  Place place_{};
  const std::function<void()>* kernel_ = nullptr;
  std::vector<Fiber> fibers_;
  std::unique_ptr<std::byte[]> shared_;
  uint64_t exchanged_[kMostThreads / kLanes][2][kLanes];
  ucontext_t scheduler_;
  unsigned current_ = 0, finished_ = 0;
  std::exception_ptr thrown_;
  std::minstd_rand random_{1};
#if defined(__SANITIZE_ADDRESS__)
  void* scheduler_fake_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
#endif
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
  fibers_.resize(std::max<size_t>(fibers_.size(), launch.threads));
  finished_ = 0;
  for (unsigned t = 0; t < launch.threads; ++t) start(t);
  while (finished_ < launch.threads && !thrown_) resume(next());
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

void Block::start(unsigned thread) {
  Fiber& fiber = fibers_[thread];
  if (!fiber.stack) fiber.stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  fiber.state = State::runnable;
  fiber.exchanges = 0;
  fiber.sanitizer = nullptr;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &Block::enter, 0);
}

void Block::resume(unsigned thread) {
  current_ = thread;
  place_.thread = thread;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler_fake_, fibers_[thread].stack.get(), kStackBytes);
#endif
  swapcontext(&scheduler_, &fibers_[thread].context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler_fake_, nullptr, nullptr);
#endif
}

void Block::yield() {
  Fiber& fiber = fibers_[current_];
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fiber.state == State::finished ? nullptr : &fiber.sanitizer, scheduler_stack_,
                                 scheduler_stack_bytes_);
#endif
  swapcontext(&fiber.context, &scheduler_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.sanitizer, &scheduler_stack_, &scheduler_stack_bytes_);
#endif
}

void Block::enter() {
  Block& block = *running;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack_, &block.scheduler_stack_bytes_);
#endif
  try {
    (*block.kernel_)();
  } catch (...) {
    if (!block.thrown_) block.thrown_ = std::current_exception();
  }
  block.finish();
}

void Block::finish() {
  fibers_[current_].state = State::finished;
  ++finished_;
  yield();
}

// Lets threads go on once all of them wait.
void Block::release(State at) {
  const unsigned first = at == State::at_warp ? current_ / kLanes * kLanes : 0;
  const unsigned last = at == State::at_warp ? first + kLanes : place_.threads;
  for (unsigned t = first; t < last; ++t) {
    if (fibers_[t].state != at) return;
  }
  for (unsigned t = first; t < last; ++t) fibers_[t].state = State::runnable;
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
