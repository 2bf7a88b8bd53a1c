// The one error type of the native code. Thrown within a thread, never across: a thread's entry function catches it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace thermocline {

// The same closed list as NATIVE_ERROR_CODES in native/index.ts.
enum class ErrorCode {
  invalid_argument,
  not_found,
  corrupt,
  out_of_memory,
  unsupported,
  closed,
  cancelled,
  aborted,
  timed_out,
  system,
  internal,
};

// The code's name on the TypeScript side, such as "invalid-argument".
const char* name_of(ErrorCode code);

class Error : public std::runtime_error {
 public:
  // `argument` is a path into the caller's data, such as "layers[3].neuronOwner"; empty when none is at fault.
  Error(ErrorCode code, const std::string& message, std::string argument = {})
      : std::runtime_error(message), code_(code), argument_(std::move(argument)) {}

  ErrorCode code() const { return code_; }
  const std::string& argument() const { return argument_; }

 private:
  ErrorCode code_;
  std::string argument_;
};

}  // namespace thermocline
