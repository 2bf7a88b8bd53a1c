// Brings an executor's weights into memory.
#pragma once

#include <vector>

#include "../engine.h"
#include "../weight_file.h"
#include "weights.h"

namespace thermocline {

// Copies each slice to its place, or reads its pages in where it is used in place. Throws Error `cancelled` soon after
// `cancel` is set, `corrupt` for a slice outside the file.
void load_weights(const WeightFile& file, const std::vector<Slice>& slices, const Progress& progress,
                  const CancelFlag& cancel);

}  // namespace thermocline
