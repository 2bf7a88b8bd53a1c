// The kernels that tests run: every instruction set's, in turn.
#pragma once

#include <iostream>
#include <vector>

#include "../kernels/kernels.h"

namespace thermocline::test {

// Slowest first. Says which are skipped because this CPU cannot run them.
inline std::vector<const Kernels*> instruction_sets() {
  std::vector<const Kernels*> all;
  for (int index = 0; index < kInstructionSets; ++index) {
    const auto set = static_cast<InstructionSet>(index);
    const Kernels* kernels = kernels_for(set);
    if (kernels != nullptr) {
      all.push_back(kernels);
    } else {
      std::cout << "  " << name_of(set) << " skipped: this CPU cannot run it" << std::endl;
    }
  }
  return all;
}

// The plain ones, which the others are held against.
inline const Kernels& scalar_kernels() { return *kernels_for(InstructionSet::scalar); }

// Scalar code rounds products on their own; all others fuse them with their addition.
inline bool fuses(const Kernels& kernels) { return kernels.instruction_set != InstructionSet::scalar; }

}  // namespace thermocline::test
