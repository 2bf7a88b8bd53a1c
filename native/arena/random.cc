#include "random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "../error.h"

namespace thermocline {

uint64_t random_bits() {
  uint64_t bits = 0;
  if (getrandom(&bits, sizeof(bits), 0) != sizeof(bits)) {
    throw Error(ErrorCode::system, std::string("the kernel gives no random bytes: ") + std::strerror(errno));
  }
  return bits;
}

}  // namespace thermocline
