// A Device on a card (card.h).
#pragma once

#include <utility>

#include "../engine.h"
#include "../hand_over.h"
#include "../step_check.h"
#include "../weight_file.h"
#include "card.h"
#include "card_neuron_exchange.h"
#include "card_stages.h"
#include "card_timer.h"
#include "crossing.h"
#include "recently_used.h"

namespace thermocline::cuda {

class CudaDevice : public Device {
 public:
  CudaDevice(const EnginePlan& plan, const EngineOptions& options, const Progress& progress, const CancelFlag& cancel);
  ~CudaDevice() override;

  const MemoryNeeds& memory() const override { return needs_; }
  uint32_t threads() const override { return 1; }
  bool takes_part() const override { return share_.takes_part(); }
  void begin(Arena& arena) override;
  void end() noexcept override;
  void run(const Step& step) override;
  uint64_t stage(const Exchange& exchange, const CancelFlag& cancel) override {
    return exchange_->stage(exchange, cancel);
  }
  bool exchanged() const override { return exchange_->applied(); }

 private:
  // In the card's order.
  class CardHandOver : public HandOver {
   public:
    CardHandOver(Card& card, Arena& arena, const Schedule& schedule, uint32_t executor)
        : HandOver(arena, schedule, executor), card_(card) {}

   protected:
    void raise(Semaphore& timeline, uint64_t value) override { card_.raise(timeline, value); }
    WaitResult wait(Semaphore& timeline, uint64_t value, const WaitLimits& limits) override {
      return card_.await(timeline, value, limits);
    }

   private:
    Card& card_;
  };

  // Steps that are enqueued alike.
  struct Alike {
    CapturedStep captured;
    CardTimer::Phases phases;
  };

  // What belongs to the arena at hand.
  struct Session {
    Arena& arena;
    CardHandOver hand_over;
    CardTimer timer;
    StepCheck check;
    RecentlyUsed<std::pair<StepExtent, bool>, Alike> alike;  // by extent, and whether they are observed
  };

  StepExtent extent_of(const Step& step) const;
  void apply(const Step& step);
  bool counts_anything() const { return share_.holds_neurons() || share_.owned_layers > 0; }
  void enqueue(const Step& step, const StepExtent& extent);
  void lead_layer(const Step& step, uint32_t layer, const StepExtent& extent);
  void help_layer(const Step& step, uint32_t layer, const StepExtent& extent);
  void run_neurons(const Step& step, uint32_t layer, const StepExtent& extent, double* out);
  void run_head(const StepExtent& extent);

  EnginePlan plan_;
  ModelTensors tensors_;  // of plan_
  Share share_;
  const Kernels& kernels_;
  MemoryNeeds needs_;
  WeightFile file_;
  Card card_;
  CardWeights weights_;
  std::unique_ptr<CardNeuronExchange> exchange_;
  CardCache cache_{};
  std::unique_ptr<CardStages> stages_;
  PinnedMemory crossing_memory_;
  std::unique_ptr<Crossing> crossing_;
  std::vector<NeuronBytes> neuron_bytes_;  // by layer
  std::unique_ptr<Session> session_;
};

}  // namespace thermocline::cuda
