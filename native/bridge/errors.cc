#include "errors.h"

#include <new>
#include <system_error>

namespace thermocline::bridge {

Napi::Error to_js_error(Napi::Env env, const Error& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  result.Set("code", Napi::String::New(env, name_of(error.code())));
  if (!error.argument().empty()) result.Set("argument", Napi::String::New(env, error.argument()));
  return result;
}

Error current_error() {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::bad_alloc&) {
    return Error(ErrorCode::out_of_memory, "no memory left for this process");
  } catch (const std::system_error& error) {
    return Error(ErrorCode::system, error.what());
  } catch (const std::exception& error) {
    return Error(ErrorCode::internal, error.what());
  } catch (...) {
    return Error(ErrorCode::internal, "something was thrown that is no exception");
  }
}

}  // namespace thermocline::bridge
