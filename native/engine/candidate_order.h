// The order of candidates for a next token: the highest logit first, the lower token first among equals, and NaNs before
// everything, for whoever takes the first to see them. The same on every device.
#pragma once

#include <bit>
#include <cstdint>

#include "../arena/arena.h"

namespace thermocline {

// No two tokens' keys are alike; that of the earlier candidate is greater, and 0 is no token's. `bits` are the logit's.
constexpr uint64_t candidate_key(uint32_t bits, uint32_t token) {
  constexpr uint32_t kSign = 0x80000000, kInfinity = 0x7f800000;
  if (bits == kSign) bits = 0;  // a zero is like another
  const bool is_nan = (bits & ~kSign) > kInfinity;
  const uint32_t rank = is_nan ? UINT32_MAX : (bits & kSign) != 0 ? ~bits : bits | kSign;
  return uint64_t{rank} << 32 | (UINT32_MAX - token);
}

constexpr uint32_t token_of(uint64_t key) { return UINT32_MAX - static_cast<uint32_t>(key); }

constexpr uint32_t logit_bits_of(uint64_t key) {
  constexpr uint32_t kSign = 0x80000000;
  const auto rank = static_cast<uint32_t>(key >> 32);
  return (rank & kSign) != 0 ? rank ^ kSign : ~rank;
}

constexpr Candidate candidate_of(uint64_t key) {
  return {static_cast<int32_t>(token_of(key)), std::bit_cast<float>(logit_bits_of(key))};
}

}  // namespace thermocline
