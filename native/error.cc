#include "error.h"

namespace thermocline {

const char* name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid-argument";
    case ErrorCode::not_found: return "not-found";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::out_of_memory: return "out-of-memory";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::closed: return "closed";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::aborted: return "aborted";
    case ErrorCode::timed_out: return "timed-out";
    case ErrorCode::system: return "system";
    case ErrorCode::internal: return "internal";
  }
  return "internal";
}

}  // namespace thermocline
