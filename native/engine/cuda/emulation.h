// A CUDA grid on one CPU thread: the threads of a block are fibers that switch at barriers, so that kernels can be run,
// and looked at by sanitizers, where there is no card. Kernels use what target.h declares and nothing else of CUDA.
//
// Stricter than a card: which thread goes on first is drawn at random; shared memory starts as NaNs, and ends where the
// launch said; a barrier that not every thread of a block (or lane of a warp) reaches is an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>

#include "stream.h"

namespace thermocline::cuda {

struct Extent {
  unsigned x = 1, y = 1;
};

// What a launch takes beside the kernel's arguments.
struct Launch {
  Extent grid;
  unsigned threads;         // a block
  size_t shared_bytes = 0;  // a block
};

namespace emulated {

// A kernel that no card would run to its end.
class Fault : public std::logic_error {
  using std::logic_error::logic_error;
};

// Runs kernel() once for every thread of the grid, one block after the other. What a thread throws is thrown here.
void run(const Launch& launch, const std::function<void()>& kernel);

// Of the thread at work.
struct Place {
  Extent grid, block;
  unsigned threads, thread;
};
const Place& place();
std::byte* shared_memory();
void sync_threads();
void sync_warp();
// Every lane gives 64 bits; value_of(lane) is then what each gave.
const uint64_t* exchange(uint64_t mine);

}  // namespace emulated

// Runs the kernel before it returns.
template <class... Parameters, class... Arguments>
void launch(Stream, void (*kernel)(Parameters...), const Launch& shape, Arguments... arguments) {
  emulated::run(shape, [&] { kernel(arguments...); });
}

}  // namespace thermocline::cuda
