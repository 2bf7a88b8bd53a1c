#include "argument.h"

#include <cmath>

#include "../error.h"

namespace thermocline::bridge {
namespace {

constexpr uint64_t kMostSafeInteger = (uint64_t{1} << 53) - 1;

std::string shown(const Napi::Value& value) {
  if (value.IsNumber() || value.IsString() || value.IsBoolean() || value.IsNull() || value.IsUndefined() ||
      value.IsBigInt()) {
    return value.ToString().Utf8Value();
  }
  return value.IsArray() ? "an array" : value.IsFunction() ? "a function" : "an object";
}

}  // namespace

void Argument::expected(const std::string& what) const {
  const std::string name = path_.empty() ? "the argument" : path_;
  throw Error(ErrorCode::invalid_argument, name + " is " + shown(value_) + ": it must be " + what, path_);
}

Argument Argument::field(const char* name) const {
  if (!value_.IsObject()) expected("an object");
  return Argument(value_.As<Napi::Object>().Get(name), path_.empty() ? name : path_ + "." + name);
}

Napi::Array Argument::as_array() const {
  if (!value_.IsArray()) expected("an array");
  return value_.As<Napi::Array>();
}

double Argument::number(double least, double most) const {
  const double number = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= least && number <= most)) {
    expected("a number from " + Napi::Number::New(value_.Env(), least).ToString().Utf8Value() + " to " +
             Napi::Number::New(value_.Env(), most).ToString().Utf8Value());
  }
  return number;
}

float Argument::float32() const {
  if (!value_.IsNumber()) expected("a number");
  return value_.As<Napi::Number>().FloatValue();
}

uint64_t Argument::integer(uint64_t most) const {
  most = std::min(most, kMostSafeInteger);
  const double number = value_.IsNumber() ? value_.As<Napi::Number>().DoubleValue() : std::nan("");
  if (!(number >= 0 && number <= static_cast<double>(most) && number == std::trunc(number))) {
    expected("a whole number from 0 to " + std::to_string(most));
  }
  return static_cast<uint64_t>(number);
}

uint64_t Argument::big_uint64() const {
  if (!value_.IsBigInt()) expected("a BigInt");
  bool lossless = false;
  const uint64_t number = value_.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) expected("a BigInt of 64 bits, not negative");
  return number;
}

bool Argument::boolean() const {
  if (!value_.IsBoolean()) expected("a boolean");
  return value_.As<Napi::Boolean>().Value();
}

std::string Argument::text() const {
  if (!value_.IsString()) expected("a string");
  return value_.As<Napi::String>().Utf8Value();
}

size_t Argument::choice(std::initializer_list<const char*> names) const {
  const std::string text = value_.IsString() ? value_.As<Napi::String>().Utf8Value() : std::string();
  std::string all;
  size_t index = 0;
  for (const char* name : names) {
    if (text == name) return index;
    all += (index++ == 0 ? "'" : ", '") + std::string(name) + "'";
  }
  expected("one of " + all);
}

std::span<const uint8_t> Argument::uint8s() const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    expected("a Uint8Array");
  }
  const auto array = value_.As<Napi::Uint8Array>();
  return {array.Data(), array.ElementLength()};
}

std::span<const int32_t> Argument::int32s() const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    expected("an Int32Array");
  }
  const auto array = value_.As<Napi::Int32Array>();
  return {array.Data(), array.ElementLength()};
}

std::span<const uint32_t> Argument::uint32s() const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    expected("a Uint32Array");
  }
  const auto array = value_.As<Napi::Uint32Array>();
  return {array.Data(), array.ElementLength()};
}

std::span<const float> Argument::float32s() const {
  if (!value_.IsTypedArray() || value_.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
    expected("a Float32Array");
  }
  const auto array = value_.As<Napi::Float32Array>();
  return {array.Data(), array.ElementLength()};
}

Napi::Function Argument::function() const {
  if (!value_.IsFunction()) expected("a function");
  return value_.As<Napi::Function>();
}

}  // namespace thermocline::bridge
