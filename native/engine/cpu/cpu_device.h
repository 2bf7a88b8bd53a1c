// A Device on CPU cores. Also what stands for a card on a machine without one, with a memory budget.
#pragma once

#include <memory>

#include "../engine.h"
#include "../hand_over.h"
#include "../phase_timer.h"
#include "../step_check.h"
#include "../weight_file.h"
#include "budgeted_memory.h"
#include "cpu_neuron_exchange.h"
#include "stages.h"

namespace thermocline {

class CpuDevice : public Device {
 public:
  CpuDevice(const EnginePlan& plan, const EngineOptions& options, const Progress& progress, const CancelFlag& cancel);

  const MemoryNeeds& memory() const override { return memory_.taken(); }
  uint32_t threads() const override { return pool_.threads(); }
  bool takes_part() const override { return share_.takes_part(); }
  void begin(Arena& arena) override;
  void end() noexcept override { session_.reset(); }
  void run(const Step& step) override;
  uint64_t stage(const Exchange& exchange, const CancelFlag& cancel) override {
    return exchange_->stage(exchange, cancel);
  }
  bool exchanged() const override { return exchange_->applied(); }

 private:
  // What belongs to the arena at hand.
  struct Session {
    Arena& arena;
    HandOver hand_over;
    PhaseTimer timer;
    StepCheck check;
  };

  void embed_rows(const Step& step);
  void lead_layer(const Step& step, uint32_t layer);
  void help_layer(const Step& step, uint32_t layer);
  void run_head(const Step& step);

  void attend(const Step& step, uint32_t layer);
  void observe_input(const Step& step, uint32_t layer);
  void predict(const Step& step, uint32_t layer);
  void run_neurons(const Step& step, uint32_t layer);
  void merge(const Step& step, uint32_t layer);

  EnginePlan plan_;
  ModelTensors tensors_;  // of plan_
  Share share_;
  ThreadPool pool_;
  Compute compute_;
  BudgetedMemory memory_;
  std::unique_ptr<WeightFile> file_;
  Weights weights_;
  std::unique_ptr<CpuNeuronExchange> exchange_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<Stages> stages_;
  std::unique_ptr<Session> session_;
};

// As memory_needs() and load_device(), for these cores.
MemoryNeeds cpu_memory_needs(const EnginePlan& plan, const EngineOptions& options);
std::unique_ptr<Device> load_cpu_device(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                                        const CancelFlag& cancel);

}  // namespace thermocline
