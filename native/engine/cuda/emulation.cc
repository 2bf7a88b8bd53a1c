#include "emulation.h"

#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <utility>

#include "fiber.h"

namespace thermocline::cuda::emulated {
namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kMostThreads = 1024;      // a block, on every card
constexpr size_t kMostSharedBytes = 227 << 10;  // on the largest; consumer cards have 99 KiB

struct Thread {
  Fiber fiber;
  unsigned exchanges;  // begun by this thread
};

// Threads that wait for the others of a block, or of a warp.
struct Barrier {
  unsigned first, threads, waiting;
};

// One block after the other; fibers' stacks are kept.
class Block {
 public:
  void run(const Launch& launch, Extent index, const std::function<void()>& kernel);

  const Place& place() const { return place_; }
  std::byte* shared() { return shared_.get(); }

  void wait_for_block() { wait(block_barrier_); }
  void wait_for_warp() { wait(warp_barriers_[current_ / kLanes]); }

  const uint64_t* exchange(uint64_t mine) {
    Thread& thread = threads_[current_];
    // A lane may begin the next exchange before others have read this one, but not the one after that.
    uint64_t* values = exchanged_[current_ / kLanes][thread.exchanges++ % 2];
    values[current_ % kLanes] = mine;
    wait_for_warp();
    return values;
  }

 private:
  static void enter();

  // Gives way to other threads until all have come as far. (One that has ended comes to no barrier.)
  void wait(Barrier& barrier) {
    if (++barrier.waiting == barrier.threads) {
      barrier.waiting = 0;
      make_runnable(barrier.first, barrier.threads);
    }
    Fiber& self = threads_[current_].fiber;
    Fiber& next = take_next();
    if (&next != &self) self.switch_to(next);
  }

  void make_runnable(unsigned first, unsigned threads) {
    for (unsigned t = first; t < first + threads; ++t) runnable_[runnables_++] = t;
  }

  // Who goes on: any thread that can, or the launch.
  Fiber& take_next() {
    if (finished_ == place_.threads || thrown_) return launch_;
    if (runnables_ == 0) {
      constexpr auto kWhy = "the threads of a block wait at different barriers, or for some that have ended";
      thrown_ = std::make_exception_ptr(Fault(kWhy));
      return launch_;
    }
    // The generator has 31 bits; their product with a number takes no division.
    const auto chosen = static_cast<unsigned>(random_() * uint64_t{runnables_} >> 31);
    current_ = place_.thread = runnable_[chosen];
    runnable_[chosen] = runnable_[--runnables_];
    return threads_[current_].fiber;
  }

  Place place_{};
  const std::function<void()>* kernel_ = nullptr;
  Fiber launch_;
  std::deque<Thread> threads_;
  unsigned runnable_[kMostThreads], runnables_ = 0;
  Barrier block_barrier_{}, warp_barriers_[kMostThreads / kLanes] = {};
  std::unique_ptr<std::byte[]> shared_;
  uint64_t exchanged_[kMostThreads / kLanes][2][kLanes];
  unsigned current_ = 0, finished_ = 0;
  std::exception_ptr thrown_;
  std::minstd_rand random_{1};
};

// Kernels ask for their place all the time: where a thread has this is fixed when the library is loaded.
[[gnu::tls_model("initial-exec")]] thread_local Block* running = nullptr;

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
  runnables_ = 0;
  for (unsigned t = 0; t < launch.threads; ++t) {
    threads_[t].exchanges = 0;
    threads_[t].fiber.start(&Block::enter);
  }
  make_runnable(0, launch.threads);
  block_barrier_ = {0, launch.threads, 0};
  for (unsigned t = 0; t < launch.threads; t += kLanes) warp_barriers_[t / kLanes] = {t, kLanes, 0};
  launch_.switch_to(take_next());
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

void Block::enter() {
  Block& block = *running;
  // Its place does not move while others of the block run.
  Fiber& self = block.threads_[block.current_].fiber;
  self.entered();
  try {
    (*block.kernel_)();
  } catch (...) {
    if (!block.thrown_) block.thrown_ = std::current_exception();
  }
  ++block.finished_;
  self.finish_to(block.take_next());
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
  // Elsewhere than what is fixed, of which a library gets little.
  static thread_local const auto block = std::make_unique<Block>();
  struct Running {
    explicit Running(Block* block) { running = block; }
    ~Running() { running = nullptr; }
  } scope(block.get());
  for (unsigned y = 0; y < launch.grid.y; ++y) {
    for (unsigned x = 0; x < launch.grid.x; ++x) block->run(launch, {x, y}, kernel);
  }
}

const Place& place() { return block().place(); }
std::byte* shared_memory() { return block().shared(); }
void sync_threads() { block().wait_for_block(); }
void sync_warp() { block().wait_for_warp(); }
const uint64_t* exchange(uint64_t mine) { return block().exchange(mine); }

}  // namespace thermocline::cuda::emulated
