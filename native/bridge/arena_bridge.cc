#include "arena_bridge.h"

#include <algorithm>
#include <span>
#include <utility>

#include "errors.h"
#include "handle.h"

namespace thermocline::bridge {
namespace {

constexpr double kMostTimeoutMs = 1e9;  // 11 days
constexpr double kNsPerMs = 1e6;

ArenaHandle& open(const Napi::Value& value) {
  ArenaHandle& handle = *from_handle<ArenaHandle>(value);
  if (!handle.arena) throw Error(ErrorCode::closed, "the arena was closed before", ArenaHandle::kName);
  return handle;
}

Napi::Value to_handle(Napi::Env env, std::unique_ptr<Arena> made, bool creator) {
  const std::shared_ptr<Arena> arena = std::move(made);
  auto waiter = std::make_shared<StepWaiter>(EventLoop::of(env), arena);
  return make_handle(env, std::shared_ptr<ArenaHandle>(new ArenaHandle{arena, std::move(waiter), creator}));
}

// The names' order is that of the enumeration.
Observation read_observation(const Argument& observation) {
  return static_cast<Observation>(observation.choice({"none", "counts", "activations"}));
}

Napi::Value create(const Napi::CallbackInfo& info) {
  const Argument options(info[0], "options");
  return to_handle(info.Env(),
                   Arena::create({
                       .executors = options.field("executors").uint32(),
                       .layers = options.field("layers").uint32(),
                       .embd = options.field("embd").uint32(),
                       .ff = options.field("ff").uint32(),
                       .vocab = options.field("vocab").uint32(),
                       .max_rows = options.field("maxRows").uint32(),
                       .max_logit_rows = options.field("maxLogitRows").uint32(),
                       .observation = read_observation(options.field("observation")),
                   }),
                   true);
}

Napi::Value attach(const Napi::CallbackInfo& info) {
  const std::string name = Argument(info[0], "name").text();
  return to_handle(info.Env(), Arena::attach(name, Argument(info[1], "epoch").big_uint64()), false);
}

Napi::Value name(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), open(info[0]).arena->name());
}

Napi::Value epoch(const Napi::CallbackInfo& info) {
  return Napi::BigInt::New(info.Env(), open(info[0]).arena->epoch());
}

Napi::Value bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(open(info[0]).arena->bytes()));
}

Napi::Value unlink(const Napi::CallbackInfo& info) {
  open(info[0]).arena->unlink();
  return info.Env().Undefined();
}

// Rows come as five numbers each, in StepRow's order.
Napi::Value submit(const Napi::CallbackInfo& info) {
  constexpr size_t kFields = sizeof(StepRow) / sizeof(int32_t);
  Arena& arena = *open(info[0]).arena;
  const std::span<const int32_t> fields = Argument(info[1], "rows").int32s();
  if (fields.size() % kFields != 0 || fields.size() / kFields > UINT32_MAX) {
    throw Error(ErrorCode::invalid_argument, "rows holds " + std::to_string(fields.size()) + " numbers: five a row",
                "rows");
  }
  std::vector<StepRow> rows;
  rows.reserve(fields.size() / kFields);
  for (size_t i = 0; i < fields.size(); i += kFields) {
    rows.push_back({fields[i], fields[i + 1], fields[i + 2], fields[i + 3], fields[i + 4]});
  }
  const bool observed = Argument(info[2], "observed").boolean();
  const uint64_t exchange = Argument(info[3], "exchange").integer(UINT64_MAX);
  const uint64_t step = arena.submit(rows.data(), static_cast<uint32_t>(rows.size()), observed, exchange);
  return Napi::Number::New(info.Env(), static_cast<double>(step));
}

Napi::Value wait(const Napi::CallbackInfo& info) {
  ArenaHandle& handle = open(info[0]);
  const uint64_t step = Argument(info[1], "step").integer(UINT64_MAX);
  const uint64_t last = handle.arena->submitted().value();
  if (step < 1 || step > last) {
    throw Error(ErrorCode::invalid_argument,
                "step " + std::to_string(step) + " was not submitted; " +
                    (last == 0 ? "none was" : "the last was " + std::to_string(last)),
                "step");
  }
  const double timeout_ms = Argument(info[2], "timeoutMs").number(0, kMostTimeoutMs);
  return handle.waiter->wait(step, static_cast<int64_t>(timeout_ms * kNsPerMs));
}

// The buffer given, if it is one and large enough, or else a new one. Hundreds of kilobytes a token would keep the
// garbage collector busy, and cost a page fault for every 4 of them.
Napi::ArrayBuffer buffer_of(const Napi::Value& given, size_t bytes) {
  if (given.IsArrayBuffer()) {
    Napi::ArrayBuffer buffer = given.As<Napi::ArrayBuffer>();
    if (buffer.ByteLength() >= bytes) return buffer;
  }
  return Napi::ArrayBuffer::New(given.Env(), bytes);
}

// The index-th row of the last step that wanted all its logits, or only some.
struct WantingRow {
  uint64_t index;
  uint32_t candidates;
};

WantingRow wanting_row(Arena& arena, const Argument& index, bool all) {
  const uint64_t wanted = index.integer(UINT32_MAX);
  if (arena.completed().value() < arena.submitted().value()) {
    throw Error(ErrorCode::invalid_argument, "logits are there only once the step has completed");
  }
  const Step step = arena.step();
  uint64_t rows = 0;
  for (uint32_t r = 0; r < step.rows; ++r) {
    const StepRow& row = step.row[r];
    if (!(all ? row.wants_all() : row.wants_some())) continue;
    if (rows++ == wanted) return {wanted, static_cast<uint32_t>(row.candidates)};
  }
  throw Error(ErrorCode::invalid_argument,
              "index is " + std::to_string(wanted) + ": the last step had " + std::to_string(rows) +
                  " rows that wanted " + (all ? "logits" : "candidates"),
              index.path());
}

// {tokens: Int32Array, logits: Float32Array}
Napi::Value candidates(const Napi::CallbackInfo& info) {
  Arena& arena = *open(info[0]).arena;
  const WantingRow row = wanting_row(arena, Argument(info[1], "index"), false);
  const size_t count = std::min(row.candidates, arena.options().vocab);
  const Candidate* from = arena.candidates() + row.index * kMostCandidates;
  Napi::ArrayBuffer buffer = buffer_of(info[2], count * sizeof(Candidate));
  auto tokens = Napi::Int32Array::New(info.Env(), count, buffer, 0);
  auto logits = Napi::Float32Array::New(info.Env(), count, buffer, count * sizeof(int32_t));
  for (size_t i = 0; i < count; ++i) {
    tokens[i] = from[i].token;
    logits[i] = from[i].logit;
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("tokens", tokens);
  result.Set("logits", logits);
  return result;
}

Napi::Value logits(const Napi::CallbackInfo& info) {
  Arena& arena = *open(info[0]).arena;
  const WantingRow row = wanting_row(arena, Argument(info[1], "index"), true);
  const size_t vocab = arena.options().vocab;
  Napi::ArrayBuffer buffer = buffer_of(info[2], vocab * sizeof(float));
  std::copy_n(arena.logits() + row.index * vocab, vocab, static_cast<float*>(buffer.Data()));
  return Napi::Float32Array::New(info.Env(), vocab, buffer, 0);
}

Napi::Value abort(const Napi::CallbackInfo& info) {
  open(info[0]).arena->fail({-1, ErrorCode::aborted, Argument(info[1], "reason").text()});
  return info.Env().Undefined();
}

// Order of TIMING_FIELDS in native/index.ts.
void append(std::vector<double>& numbers, const Timing& timing) {
  numbers.insert(numbers.end(),
                 {static_cast<double>(timing.step), static_cast<double>(timing.executor),
                  static_cast<double>(timing.layer), static_cast<double>(timing.phase),
                  static_cast<double>(timing.start_ns), static_cast<double>(timing.end_ns),
                  static_cast<double>(timing.rows), static_cast<double>(timing.active),
                  static_cast<double>(timing.placed), static_cast<double>(timing.bytes)});
}

Napi::Value drain_timings(const Napi::CallbackInfo& info) {
  Arena& arena = *open(info[0]).arena;
  std::vector<double> numbers;
  uint64_t lost = 0;
  for (uint32_t executor = 0; executor < arena.options().executors; ++executor) {
    TimingRing ring = arena.ring(executor);
    Timing batch[64];
    while (const uint32_t count = ring.read(batch, std::size(batch), lost)) {
      for (const Timing& timing : std::span(batch, count)) append(numbers, timing);
    }
  }
  Napi::ArrayBuffer buffer = buffer_of(info[1], numbers.size() * sizeof(double));
  std::copy(numbers.begin(), numbers.end(), static_cast<double*>(buffer.Data()));
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("records", Napi::Float64Array::New(info.Env(), numbers.size(), buffer, 0));
  result.Set("lost", static_cast<double>(lost));
  return result;
}

Napi::Value close(const Napi::CallbackInfo& info) {
  ArenaHandle& handle = open(info[0]);
  const std::shared_ptr<Arena> arena = std::move(handle.arena);
  std::exchange(handle.waiter, nullptr)->close();
  if (handle.creator) arena->unlink();
  return info.Env().Undefined();
}

Napi::Value sweep(const Napi::CallbackInfo& info) {
  const std::vector<std::string> names = sweep_arenas();
  auto result = Napi::Array::New(info.Env(), names.size());
  for (uint32_t i = 0; i < names.size(); ++i) result.Set(i, names[i]);
  return result;
}

}  // namespace

std::shared_ptr<Arena> open_arena(const Napi::Value& handle) { return open(handle).arena; }

void export_arena(Napi::Env env, Napi::Object exports) {
  exports.Set("arenaCreate", Napi::Function::New(env, guarded<create>));
  exports.Set("arenaAttach", Napi::Function::New(env, guarded<attach>));
  exports.Set("arenaName", Napi::Function::New(env, guarded<name>));
  exports.Set("arenaEpoch", Napi::Function::New(env, guarded<epoch>));
  exports.Set("arenaBytes", Napi::Function::New(env, guarded<bytes>));
  exports.Set("arenaUnlink", Napi::Function::New(env, guarded<unlink>));
  exports.Set("arenaSubmit", Napi::Function::New(env, guarded<submit>));
  exports.Set("arenaWait", Napi::Function::New(env, guarded<wait>));
  exports.Set("arenaLogits", Napi::Function::New(env, guarded<logits>));
  exports.Set("arenaCandidates", Napi::Function::New(env, guarded<candidates>));
  exports.Set("arenaAbort", Napi::Function::New(env, guarded<abort>));
  exports.Set("arenaDrainTimings", Napi::Function::New(env, guarded<drain_timings>));
  exports.Set("arenaClose", Napi::Function::New(env, guarded<close>));
  exports.Set("sweepArenas", Napi::Function::New(env, guarded<sweep>));
}

}  // namespace thermocline::bridge
