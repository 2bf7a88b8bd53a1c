// A value that JavaScript passed in, and the path that names it in errors.
#pragma once

#include <napi.h>

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace thermocline::bridge {

// Readers throw Error `invalid-argument` naming the path when the value is of another type or out of range.
class Argument {
 public:
  // An empty path makes the fields of an object go by their bare names.
  Argument(Napi::Value value, std::string path) : value_(value), path_(std::move(path)) {}

  const std::string& path() const { return path_; }
  bool is_null() const { return value_.IsNull(); }

  Argument field(const char* name) const;
  // Reads every element of an array with `read(const Argument&)`.
  template <class Read>
  auto elements(Read read) const {
    const Napi::Array array = as_array();
    std::vector<decltype(read(*this))> result;
    result.reserve(array.Length());
    for (uint32_t i = 0; i < array.Length(); ++i) {
      const Napi::HandleScope scope(array.Env());
      result.push_back(read(Argument(array[i], path_ + "[" + std::to_string(i) + "]")));
    }
    return result;
  }

  double number(double least, double most) const;
  float float32() const;
  // Whole numbers up to 2^53.
  uint64_t integer(uint64_t most) const;
  uint32_t uint32() const { return static_cast<uint32_t>(integer(UINT32_MAX)); }
  uint64_t big_uint64() const;  // a BigInt
  bool boolean() const;
  std::string text() const;
  // The index of the name that the value is.
  size_t choice(std::initializer_list<const char*> names) const;
  // Views of typed arrays, valid until JavaScript runs again.
  std::span<const uint8_t> uint8s() const;
  std::span<const int32_t> int32s() const;
  std::span<const uint32_t> uint32s() const;
  std::span<const float> float32s() const;
  Napi::Function function() const;

 private:
  Napi::Array as_array() const;
  [[noreturn]] void expected(const std::string& what) const;

  Napi::Value value_;
  std::string path_;
};

}  // namespace thermocline::bridge
