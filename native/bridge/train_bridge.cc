#include "train_bridge.h"

#include <cstring>
#include <mutex>

#include "../train/layer_training.h"
#include "argument.h"
#include "cancel_token.h"
#include "errors.h"
#include "event_loop.h"
#include "handle.h"
#include "weight_type_argument.h"

namespace thermocline::bridge {
namespace {

constexpr uint64_t kMostThreads = 1024;
constexpr uint64_t kMostRank = 1 << 16;
constexpr uint64_t kMostEpochs = 1000000;

// A layer's data and the threads that work on it, until it is closed.
struct LayerHandle {
  static constexpr napi_type_tag kTag{0x5d0c8fe24b7a4e19, 0x92f36a0bd1c74e85};
  static constexpr const char* kName = "layer";

  std::mutex busy;  // held by the one fit at work
  std::unique_ptr<LayerTraining> layer;
};

// Hands progress to the event loop no faster than that takes it.
class TrainingRelay {
 public:
  TrainingRelay(std::shared_ptr<EventLoop> loop, EventLoop::Ticket ticket)
      : state_(std::make_shared<State>(std::move(loop))), ticket_(ticket) {}

  void report(const TrainingProgress& progress) const {
    {
      const std::lock_guard lock(state_->mutex);
      state_->last = progress;
      if (std::exchange(state_->on_its_way, true)) return;
    }
    state_->loop->notify(ticket_, [state = state_](Napi::Env env, const Napi::Function& callback) {
      const TrainingProgress now = state->take();
      Napi::Object result = Napi::Object::New(env);
      result.Set("epoch", now.epoch);
      result.Set("epochs", now.epochs);
      result.Set("done", now.done);
      result.Set("loss", now.loss);
      callback.Call({result});
    });
  }

 private:
  struct State {
    explicit State(std::shared_ptr<EventLoop> loop) : loop(std::move(loop)) {}
    TrainingProgress take() {
      const std::lock_guard lock(mutex);
      on_its_way = false;
      return last;
    }
    const std::shared_ptr<EventLoop> loop;
    std::mutex mutex;
    TrainingProgress last{};
    bool on_its_way = false;
  };
  std::shared_ptr<State> state_;
  EventLoop::Ticket ticket_;
};

Gate read_gate(const Argument& argument, size_t embd, size_t ff) {
  const auto weights = argument.field("gate").float32s();
  const auto norm = argument.field("norm").float32s();
  if (weights.size() != embd * ff) {
    throw Error(ErrorCode::invalid_argument, "the gate matrix has not ff rows of embd elements", "gate");
  }
  if (norm.size() != embd) throw Error(ErrorCode::invalid_argument, "the norm has not embd elements", "norm");
  Gate gate{{weights.begin(), weights.end()}, argument.field("reluThreshold").float32()};
  for (size_t i = 0; i < gate.weights.size(); ++i) gate.weights[i] *= norm[i % embd];
  return gate;
}

Napi::Value open(const Napi::CallbackInfo& info) {
  const Argument argument(info[0], "");
  const size_t embd = argument.field("embd").uint32(), ff = argument.field("ff").uint32();
  if (embd == 0) throw Error(ErrorCode::invalid_argument, "embd is 0", "embd");
  if (ff == 0) throw Error(ErrorCode::invalid_argument, "ff is 0", "ff");
  const auto threads = static_cast<uint32_t>(argument.field("threads").integer(kMostThreads));
  if (threads == 0) throw Error(ErrorCode::invalid_argument, "threads is 0", "threads");
  const LayerActivationFiles files{argument.field("training").text(), argument.field("calibration").text(),
                                   argument.field("test").text()};
  const auto most_rank = static_cast<uint32_t>(argument.field("mostRank").integer(kMostRank));
  const auto gate = std::make_shared<Gate>(read_gate(argument, embd, ff));
  return EventLoop::of(info.Env())
      ->run(
          [=](EventLoop::Ticket) -> EventLoop::MakeValue {
            auto handle = std::make_shared<LayerHandle>();
            handle->layer = std::make_unique<LayerTraining>(threads, embd, ff, most_rank, files, std::move(*gate));
            return [handle](Napi::Env env) { return make_handle(env, handle); };
          },
          [] {});
}

Napi::Object to_js(Napi::Env env, const Confusion& confusion) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("rows", static_cast<double>(confusion.rows));
  result.Set("fired", static_cast<double>(confusion.fired));
  result.Set("predicted", static_cast<double>(confusion.predicted));
  result.Set("found", static_cast<double>(confusion.found));
  return result;
}

Napi::Uint8Array to_js(Napi::Env env, const std::vector<uint8_t>& bytes) {
  Napi::Uint8Array result = Napi::Uint8Array::New(env, bytes.size());
  if (!bytes.empty()) std::memcpy(result.Data(), bytes.data(), bytes.size());
  return result;
}

FitOptions read_fit(const Argument& argument) {
  return {
      static_cast<PredictorKind>(argument.field("kind").choice({"paired", "shifted", "trained"})),
      static_cast<uint32_t>(argument.field("rank").integer(kMostRank)),
      read_weight_type(argument.field("type")),
      argument.field("recall").number(0, 1),
      static_cast<uint32_t>(argument.field("epochs").integer(kMostEpochs)),
      argument.field("seed").integer(UINT64_MAX),
      argument.field("checkpoint").is_null() ? "" : argument.field("checkpoint").text(),
  };
}

Napi::Value fit(const Napi::CallbackInfo& info) {
  const std::shared_ptr<EventLoop>& loop = EventLoop::of(info.Env());
  const std::shared_ptr<LayerHandle> handle = from_handle<LayerHandle>(info[0]);
  const FitOptions options = read_fit(Argument(info[1], "options"));
  const Napi::Function on_progress = Argument(info[2], "onProgress").function();
  const std::shared_ptr<CancelToken> cancel = from_handle<CancelToken>(info[3]);
  return loop->run(
      [=](EventLoop::Ticket ticket) -> EventLoop::MakeValue {
        const std::unique_lock lock(handle->busy, std::try_to_lock);
        if (!lock) throw Error(ErrorCode::invalid_argument, "the layer is being fitted already", "layer");
        if (handle->layer == nullptr) throw Error(ErrorCode::closed, "the layer was closed");
        const TrainingRelay relay(loop, ticket);
        const auto fitted = std::make_shared<const FittedPredictor>(handle->layer->fit(
            options, [&](const TrainingProgress& progress) { relay.report(progress); }, cancel->flag));
        return [fitted](Napi::Env env) {
          Napi::Object result = Napi::Object::New(env);
          result.Set("fc1", to_js(env, fitted->fc1));
          result.Set("fc2", to_js(env, fitted->fc2));
          result.Set("calibration", to_js(env, fitted->calibration));
          result.Set("test", to_js(env, fitted->test));
          result.Set("loss", fitted->loss);
          return result;
        };
      },
      [cancel] { cancel->flag = true; }, on_progress);
}

Napi::Value close(const Napi::CallbackInfo& info) {
  const std::shared_ptr<LayerHandle> handle = from_handle<LayerHandle>(info[0]);
  const std::unique_lock lock(handle->busy, std::try_to_lock);
  if (!lock) throw Error(ErrorCode::invalid_argument, "the layer is being fitted: cancel that first", "layer");
  if (handle->layer == nullptr) throw Error(ErrorCode::closed, "the layer was closed");
  handle->layer.reset();
  return info.Env().Undefined();
}

}  // namespace

void export_training(Napi::Env env, Napi::Object exports) {
  exports.Set("trainingOpen", Napi::Function::New(env, guarded<open>));
  exports.Set("trainingFit", Napi::Function::New(env, guarded<fit>));
  exports.Set("trainingClose", Napi::Function::New(env, guarded<close>));
}

}  // namespace thermocline::bridge
