#pragma once

#include <atomic>
#include <cstdint>

namespace thermocline::bridge {

// Reads `bytes` of memory again and again with `threads` threads for `seconds`, or until `stop` is set, but at least
// once. Returns bytes a second of the best pass. Throws `out-of-memory`.
double measure_bandwidth(uint32_t threads, uint64_t bytes, double seconds, const std::atomic<bool>& stop);

}  // namespace thermocline::bridge
