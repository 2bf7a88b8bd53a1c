// Brings an executor's weights into memory.
#pragma once

#include <vector>

#include "../engine.h"
#include "../weight_file.h"
#include "weights.h"

namespace thermocline {

// Copies rows to their places, into panels where they are to lie so, or reads their pages in where they are used in
// place. All threads of `pool` copy; `progress` is called on this one. The file's pages are let go once copied. Throws
// Error `cancelled` soon after `cancel` is set, `corrupt` for rows outside the file.
void load_weights(const WeightFile& file, const std::vector<Copy>& copies, ThreadPool& pool, const Progress& progress,
                  const CancelFlag& cancel);

// Reads the pages of these bytes of a mapped file in, and waits for them.
void page_in(const std::byte* from, size_t bytes);

}  // namespace thermocline
