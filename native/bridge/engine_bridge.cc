#include "engine_bridge.h"

#include "../engine/device_library.h"
#include "arena_bridge.h"
#include "cancel_token.h"
#include "engine_session.h"
#include "errors.h"
#include "handle.h"
#include "plan_argument.h"

namespace thermocline::bridge {
namespace {

// Hands progress to the event loop no faster than that takes it; the last figures always arrive.
class ProgressRelay {
 public:
  explicit ProgressRelay(std::shared_ptr<EventLoop> loop) : loop_(std::move(loop)) {}

  static void report(const std::shared_ptr<ProgressRelay>& self, EventLoop::Ticket ticket, uint64_t done,
                     uint64_t total) {
    self->done_ = done;
    self->total_ = total;
    if (self->on_its_way_.exchange(true)) return;
    self->loop_->notify(ticket, [self](Napi::Env env, const Napi::Function& callback) {
      self->on_its_way_ = false;
      callback.Call({Napi::Number::New(env, static_cast<double>(self->done_)),
                     Napi::Number::New(env, static_cast<double>(self->total_))});
    });
  }

 private:
  const std::shared_ptr<EventLoop> loop_;
  std::atomic<uint64_t> done_{0};
  std::atomic<uint64_t> total_{0};
  std::atomic<bool> on_its_way_{false};
};

Argument plan_of(const Napi::CallbackInfo& info) { return Argument(info[0], ""); }
Argument options_of(const Napi::CallbackInfo& info) { return Argument(info[1], "options"); }

EngineSession& session_of(const Napi::CallbackInfo& info) { return *from_handle<EngineSession>(info[0]); }

Napi::Object to_js(Napi::Env env, const MemoryNeeds& needs) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("weightBytes", static_cast<double>(needs.weight_bytes));
  result.Set("kvCacheBytes", static_cast<double>(needs.kv_cache_bytes));
  result.Set("scratchBytes", static_cast<double>(needs.scratch_bytes));
  return result;
}

Napi::Value needs(const Napi::CallbackInfo& info) {
  return to_js(info.Env(), memory_needs(read_plan(plan_of(info)), read_options(options_of(info))));
}

Napi::Value load(const Napi::CallbackInfo& info) {
  const std::shared_ptr<EventLoop>& loop = EventLoop::of(info.Env());
  const auto plan = std::make_shared<const EnginePlan>(read_plan(plan_of(info)));
  const EngineOptions options = read_options(options_of(info));
  const Napi::Function on_progress = Argument(info[2], "onProgress").function();
  const std::shared_ptr<CancelToken> cancel = from_handle<CancelToken>(info[3]);
  const auto relay = std::make_shared<ProgressRelay>(loop);
  return loop->run(
      [loop, plan, options, cancel, relay](EventLoop::Ticket ticket) -> EventLoop::MakeValue {
        const auto progress = [&](uint64_t done, uint64_t total) { ProgressRelay::report(relay, ticket, done, total); };
        auto device = load_device(*plan, options, progress, cancel->flag);
        auto session = std::make_shared<EngineSession>(loop, std::move(device), plan->executor,
                                                       options.kernels->instruction_set);
        return [session](Napi::Env env) { return make_handle(env, session); };
      },
      [cancel] { cancel->flag = true; }, on_progress);
}

Napi::Value card_probe(const Napi::CallbackInfo& info) {
  const CardInfo card = DeviceLibrary(Argument(info[0], "library").text()).probe();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("name", card.name);
  result.Set("memoryBytes", static_cast<double>(card.memory_bytes));
  result.Set("freeBytes", static_cast<double>(card.free_bytes));
  result.Set("memoryBytesPerS", static_cast<double>(card.memory_bytes_per_s));
  result.Set("memoryOperations", card.memory_operations);
  result.Set("kernelTimeLimit", card.kernel_time_limit);
  result.Set("computeMajor", card.compute_major);
  result.Set("computeMinor", card.compute_minor);
  result.Set("driverVersion", card.driver_version);
  result.Set("runtimeVersion", card.runtime_version);
  return result;
}

Napi::Value cancel_token(const Napi::CallbackInfo& info) {
  return make_handle(info.Env(), std::make_shared<CancelToken>());
}

Napi::Value cancel(const Napi::CallbackInfo& info) {
  from_handle<CancelToken>(info[0])->flag = true;
  return info.Env().Undefined();
}

Napi::Value engine_info(const Napi::CallbackInfo& info) {
  const EngineSession& session = session_of(info);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("memory", to_js(info.Env(), session.device().memory()));
  result.Set("instructionSet", name_of(session.instruction_set()));
  result.Set("threads", session.device().threads());
  return result;
}

Napi::Value serve(const Napi::CallbackInfo& info) { return session_of(info).serve(open_arena(info[1])); }

Napi::Value stage(const Napi::CallbackInfo& info) {
  return session_of(info).stage(read_exchange(Argument(info[1], "")), from_handle<CancelToken>(info[2]));
}

Napi::Value exchanged(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), session_of(info).device().exchanged());
}

Napi::Value steps(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(session_of(info).steps()));
}

Napi::Value stop(const Napi::CallbackInfo& info) {
  session_of(info).stop();
  return info.Env().Undefined();
}

Napi::Value close(const Napi::CallbackInfo& info) { return session_of(info).close(); }

}  // namespace

void export_engine(Napi::Env env, Napi::Object exports) {
  exports.Set("memoryNeeds", Napi::Function::New(env, guarded<needs>));
  exports.Set("cardProbe", Napi::Function::New(env, guarded<card_probe>));
  exports.Set("engineLoad", Napi::Function::New(env, guarded<load>));
  exports.Set("cancelToken", Napi::Function::New(env, guarded<cancel_token>));
  exports.Set("cancel", Napi::Function::New(env, guarded<cancel>));
  exports.Set("engineInfo", Napi::Function::New(env, guarded<engine_info>));
  exports.Set("engineServe", Napi::Function::New(env, guarded<serve>));
  exports.Set("engineStage", Napi::Function::New(env, guarded<stage>));
  exports.Set("engineExchanged", Napi::Function::New(env, guarded<exchanged>));
  exports.Set("engineSteps", Napi::Function::New(env, guarded<steps>));
  exports.Set("engineStop", Napi::Function::New(env, guarded<stop>));
  exports.Set("engineClose", Napi::Function::New(env, guarded<close>));
}

}  // namespace thermocline::bridge
