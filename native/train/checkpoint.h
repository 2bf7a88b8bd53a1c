// A training's state in a file, replaced whole or not at all.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thermocline {

// What must be the same for a training to go on from a checkpoint.
using CheckpointIdentity = std::vector<uint64_t>;

struct CheckpointState {
  uint64_t epoch, step;
};

// A hash of numbers (FNV-1a over their bytes), to tell one beginning from another.
uint64_t fingerprint(std::span<const float> numbers);

// Throws Error `system` when the file cannot be written.
void write_checkpoint(const std::string& path, const CheckpointIdentity& identity, const CheckpointState& state,
                      const std::vector<std::span<const float>>& parts);

// False, with nothing changed, when there is no such file, or it is another training's, or not whole.
bool read_checkpoint(const std::string& path, const CheckpointIdentity& identity, CheckpointState& state,
                     const std::vector<std::span<float>>& parts);

}  // namespace thermocline
