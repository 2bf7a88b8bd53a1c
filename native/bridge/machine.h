// What this process has of the machine.
#pragma once

#include <cstdint>
#include <string>

namespace thermocline::bridge {

struct Machine {
  std::string cpu;
  uint32_t cores;  // that the affinity mask and the control group's quota leave to this process
  // The machine's memory, or the control group's limit if that is lower, and how much of it is free or can be freed.
  uint64_t memory_bytes, available_memory_bytes;
  // /dev/shm; 0 when there is none.
  uint64_t shared_memory_bytes, available_shared_memory_bytes;
};

Machine look_at_machine();

}  // namespace thermocline::bridge
