// Rows of one weight format as rows of another.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "../kernels/kernels.h"

namespace thermocline {

// `source` holds whole rows of `cols` elements stored as `from`; what is returned holds them stored as `to`. Rows whose
// format stays are copied as they are. Uses memory for one row beyond that.
//
// Throws `invalid-argument` (cols is 0 or no multiple of a format's block; the source is no whole rows; an element lies
// beyond what `to` reaches), `corrupt` (an element is no finite number), `cancelled` (within a row's time of `stop`).
std::vector<uint8_t> convert_rows(WeightType from, WeightType to, size_t cols, std::span<const uint8_t> source,
                                  const std::atomic<bool>& stop);

}  // namespace thermocline
