// A loaded device and what it is doing.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "../engine/engine.h"
#include "cancel_token.h"
#include "event_loop.h"

namespace thermocline::bridge {

// Made anywhere, used by the event loop only, apart from what the serving thread works with.
class EngineSession : public std::enable_shared_from_this<EngineSession> {
 public:
  static constexpr napi_type_tag kTag{0x2d84f5a1c0e94b77, 0x8b51d36f7e02ca94};
  static constexpr const char* kName = "engine";

  EngineSession(std::shared_ptr<EventLoop> loop, std::unique_ptr<Device> device, uint32_t executor,
                InstructionSet instruction_set)
      : loop_(std::move(loop)), executor_(executor), instruction_set_(instruction_set), device_(std::move(device)) {}

  // All of these throw `closed` after close().
  const Device& device() const;
  InstructionSet instruction_set() const { return instruction_set_; }
  uint64_t steps() const;
  // A promise of a ServeOutcome.
  Napi::Promise serve(std::shared_ptr<Arena> arena);
  void stop();
  // A promise of the bytes that a staged exchange will copy.
  Napi::Promise stage(Exchange exchange, std::shared_ptr<CancelToken> cancel);
  // Stops serving and staging, then frees the device on a thread of its own: giving back gigabytes takes a while.
  Napi::Promise close();

 private:
  void check_open() const;
  void serving_ended();
  void staging_ended();
  void free_if_unused();
  void free_device(EventLoop::Ticket closing);

  const std::shared_ptr<EventLoop> loop_;
  const uint32_t executor_;
  const InstructionSet instruction_set_;
  std::unique_ptr<Device> device_;
  std::shared_ptr<Arena> served_;  // null when it serves none
  std::shared_ptr<CancelToken> staging_;  // null when it stages no exchange
  bool closed_ = false;
  std::optional<EventLoop::Ticket> closing_;  // waits for serving and staging to end
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> steps_{0};
};

}  // namespace thermocline::bridge
