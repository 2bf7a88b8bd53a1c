#include "cpu_device.h"

#include <algorithm>

#include "embedding.h"
#include "multiply.h"
#include "norm.h"

namespace thermocline {

// The activations of a step live in the arena whether or not others look at them: the residual in residual(), which
// only the owner of the layer at hand touches, the FFN's input in ffn_input(), the predicted neurons in active_set(),
// every executor's share of the FFN's output in its partial_sum(). A hand-over is then a signal and no copy.

void CpuDevice::run(const Step& step) {
  session_->check.check(step);
  session_->hand_over.begin(step.number);
  session_->timer.begin(step);
  if (step.exchange != 0) session_->timer.end(Phase::exchange, exchange_->apply(step.exchange));
  if (share_.embeds) embed_rows(step);
  for (uint32_t layer = 0; layer < share_.layers.size(); ++layer) {
    const LayerShare& share = share_.layers[layer];
    session_->hand_over.check_aborted();
    session_->timer.enter_layer(layer, share.neurons.size());
    if (share.owner) {
      lead_layer(step, layer);
    } else if (!share.neurons.empty()) {
      help_layer(step, layer);
    }
  }
  session_->timer.leave_layers();
  if (share_.head) run_head(step);
}

void CpuDevice::lead_layer(const Step& step, uint32_t layer) {
  const LayerShare& share = share_.layers[layer];
  HandOver& hand_over = session_->hand_over;
  if (share.residual_arrives) {
    hand_over.await_residual(layer - 1);
    session_->timer.end(Phase::wait);
  }
  attend(step, layer);
  if (weights_.layers[layer].has_predictor) predict(step, layer);
  if (share.has_peers) hand_over.signal_input(layer);
  if (!share.neurons.empty()) run_neurons(step, layer);
  if (share.has_peers) {
    for (const uint32_t holder : share.holders) {
      if (holder != plan_.executor) hand_over.await_partial(layer, holder);
    }
    session_->timer.end(Phase::wait);
  }
  merge(step, layer);
  if (share.residual_leaves) hand_over.signal_residual(layer);
}

void CpuDevice::help_layer(const Step& step, uint32_t layer) {
  session_->hand_over.await_input(layer);
  session_->timer.end(Phase::wait);
  run_neurons(step, layer);
  session_->hand_over.signal_partial(layer);
}

void CpuDevice::embed_rows(const Step& step) {
  const uint64_t bytes = embed(compute_, weights_.token_embd, step, session_->arena.residual());
  session_->timer.end(Phase::embed, bytes);
}

// x += attention(x), then the FFN's input from it.
void CpuDevice::attend(const Step& step, uint32_t layer) {
  const LayerWeights& weights = weights_.layers[layer];
  const uint32_t cache_layer = share_.layers[layer].cache_layer;
  float* x = session_->arena.residual();
  // The first of this executor's layers computes the angles for all of them.
  if (cache_layer == 0) stages_->rope.turn_to(step);
  uint64_t bytes =
      stages_->attention.run(compute_, weights.attention, *cache_, cache_layer, stages_->rope, step, x);
  if (step.observed) observe_input(step, layer);
  normalize(compute_, plan_.shape, weights.ffn_norm, x, step.rows, session_->arena.ffn_input());
  bytes += weights.ffn_norm.bytes(plan_.shape.embd);
  session_->timer.end(Phase::attention, bytes);
}

void CpuDevice::observe_input(const Step& step, uint32_t layer) {
  Arena& arena = session_->arena;
  if (arena.options().observation < Observation::activations) return;
  std::copy_n(arena.residual(), size_t{step.rows} * plan_.shape.embd, arena.predictor_input(layer));
}

void CpuDevice::predict(const Step& step, uint32_t layer) {
  const LayerWeights& weights = weights_.layers[layer];
  const uint32_t active = stages_->predictor.run(compute_, weights, session_->arena.residual(), step.rows,
                                                 session_->arena.active_set());
  session_->timer.end(Phase::predict, weights.fc1.bytes() + weights.fc2.bytes(), active);
}

void CpuDevice::run_neurons(const Step& step, uint32_t layer) {
  Arena& arena = session_->arena;
  const LayerWeights& weights = weights_.layers[layer];
  NeuronObserver observer{};
  if (step.observed) {
    const bool sets = arena.options().observation >= Observation::activations;
    const size_t words = active_words(plan_.shape.ff);
    uint64_t* fired_set = sets ? arena.fired_set(plan_.executor, layer) : nullptr;
    if (sets) std::fill_n(fired_set, step.rows * words, uint64_t{0});
    observer = {arena.fired_counts(layer), arena.fired_strengths(layer), fired_set, words};
  }
  const NeuronWork work = stages_->neurons.run(compute_, weights.neurons, share_.layers[layer].neurons,
                                               arena.ffn_input(), step.rows,
                                               weights.has_predictor ? arena.active_set() : nullptr,
                                               step.observed ? &observer : nullptr,
                                               arena.partial_sum(plan_.executor));
  const bool gpu = plan_.schedule.executors[plan_.executor] == ExecutorKind::gpu;
  session_->timer.end(gpu ? Phase::hot : Phase::cold, work.bytes, work.active);
}

// x += everybody's share of the FFN, in the order of executors and not in that of their arrival.
void CpuDevice::merge(const Step& step, uint32_t layer) {
  Arena& arena = session_->arena;
  std::vector<const double*> shares;
  for (const uint32_t holder : share_.layers[layer].holders) shares.push_back(arena.partial_sum(holder));
  add(compute_, shares, step.rows, plan_.shape.embd, arena.residual());
  session_->timer.end(Phase::merge);
}

void CpuDevice::run_head(const Step& step) {
  Arena& arena = session_->arena;
  if (share_.residual_arrives) {
    session_->hand_over.await_residual(plan_.shape.layers - 1);
    session_->timer.end(Phase::wait);
  }
  const bool any = stages_->head.run(compute_, weights_, step, arena.residual(), arena) > 0;
  const uint64_t bytes = any ? weights_.output_norm.bytes(plan_.shape.embd) + weights_.output.bytes() : 0;
  session_->timer.end(Phase::head, bytes);
  session_->hand_over.signal_completed();
}

}  // namespace thermocline
