#include "formats_bridge.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <vector>

#include "../formats/convert.h"
#include "argument.h"
#include "errors.h"
#include "event_loop.h"
#include "weight_type_argument.h"

namespace thermocline::bridge {
namespace {

Napi::Value to_uint8_array(Napi::Env env, const std::vector<uint8_t>& bytes) {
  Napi::Uint8Array result = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(result.Data(), bytes.data(), bytes.size());
  return result;
}

// Works on a copy of the source, so that the caller may use its memory again at once.
Napi::Value convert(const Napi::CallbackInfo& info) {
  const Argument conversion(info[0], "");
  const WeightType from = read_weight_type(conversion.field("from"));
  const WeightType to = read_weight_type(conversion.field("to"));
  const size_t cols = conversion.field("cols").integer(UINT32_MAX);
  const auto given = conversion.field("source").uint8s();
  const auto source = std::make_shared<const std::vector<uint8_t>>(given.begin(), given.end());
  const auto stop = std::make_shared<std::atomic<bool>>(false);
  return EventLoop::of(info.Env())
      ->run(
          [=](EventLoop::Ticket) -> EventLoop::MakeValue {
            const auto result = std::make_shared<const std::vector<uint8_t>>(
                convert_rows(from, to, cols, *source, *stop));
            return [result](Napi::Env env) { return to_uint8_array(env, *result); };
          },
          [stop] { *stop = true; });
}

}  // namespace

void export_formats(Napi::Env env, Napi::Object exports) {
  exports.Set("convertRows", Napi::Function::New(env, guarded<convert>));
}

}  // namespace thermocline::bridge
