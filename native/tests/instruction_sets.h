// The kernels that tests run: every instruction set's, in turn.
#pragma once

#include <iostream>
#include <vector>

#include "../kernels/kernels.h"

namespace thermocline::test {

// Slowest first. Says which are skipped because this CPU cannot run them.
inline std::vector<const Kernels*> instruction_sets() {
  std::vector<const Kernels*> all;
  for (InstructionSet set : {InstructionSet::scalar, InstructionSet::avx2}) {
    const Kernels* kernels = kernels_for(set);
    if (kernels != nullptr) {
      all.push_back(kernels);
    } else {
      std::cout << "  " << name_of(set) << " skipped: this CPU cannot run it" << std::endl;
    }
  }
  return all;
}

}  // namespace thermocline::test
