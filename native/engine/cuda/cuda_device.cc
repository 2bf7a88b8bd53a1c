#include "cuda_device.h"

#include <algorithm>
#include <bit>

#include "../active_set.h"
#include "../arena_check.h"
#include "../budget.h"
#include "../kv_cache.h"
#include "card_needs.h"

namespace thermocline::cuda {
namespace {

// A card that signals nothing for so long, and whom nobody signals anything, is stuck: longer than any wait within its
// steps.
constexpr int64_t kPatienceNs = 60'000'000'000;

// Operations of captured steps that are kept. The driver takes memory of the card for each, some 10 KiB as NVIDIA's own
// libraries reckon: together 160 MiB, of the 512 that are left to it and others. A layer has some 40, which makes 12
// kinds of steps for a model of 32 layers, and 5 for one of 80. One that was thrown out is captured anew, in about the
// time that its launches would take one by one.
constexpr size_t kKeptOperations = 16'384;

}  // namespace

CudaDevice::CudaDevice(const EnginePlan& plan, const EngineOptions& options, const Progress& progress,
                       const CancelFlag& cancel)
    : plan_(plan),
      tensors_((validate(plan_), find_tensors(plan_))),
      share_(share_of(plan_)),
      kernels_(*options.kernels),
      needs_(card_memory_needs(plan_, options)),
      file_((check_budget(needs_, options.budget_bytes), plan_.model_path), plan_.model_bytes) {
  MemoryLayout weights(card_.device_memory(needs_.weight_bytes));
  const PlacedCardWeights placed = place_card_weights(tensors_, share_, weights);
  const Upload upload = [this](const void* to, const std::byte* from, size_t bytes) { card_.upload(to, from, bytes); };
  load_card_weights(file_, placed, upload, progress, cancel);
  weights_ = placed.weights;
  exchange_ = std::make_unique<CardNeuronExchange>(
      NeuronExchange::Subject{plan_.schedule, tensors_, file_, plan_.executor, share_}, weights_, card_);

  MemoryLayout kv_cache(card_.device_memory(needs_.kv_cache_bytes));
  const KvCache cache(plan_, share_.owned_layers, kv_cache);
  cache_ = {cache.keys(0, 0, 0), share_.owned_layers, plan_.shape.kv_heads, plan_.context_length, plan_.shape.head_dim};
  MemoryLayout scratch(card_.device_memory(needs_.scratch_bytes));
  stages_ = std::make_unique<CardStages>(plan_, tensors_, share_, scratch);

  MemoryLayout measure;
  const Crossing measured(plan_, share_, measure);
  crossing_memory_ = card_.pinned_memory(measure.bytes());
  MemoryLayout pinned(crossing_memory_.get());
  crossing_ = std::make_unique<Crossing>(plan_, share_, pinned);
  if (share_.owned_layers > 0) {
    const TensorRef* factors = tensors_.rope_freqs;
    crossing_->rope.set_frequencies(
        plan_.shape, factors == nullptr ? nullptr : file_.slice(factors->offset, factors->bytes()));
  }
  for (const LayerTensors& layer : tensors_.layers) {
    const auto each = [](const TensorRef& tensor) { return row_bytes(tensor.type, tensor.cols); };
    const TensorRef& down = *layer.ffn_down;
    neuron_bytes_.push_back({each(*layer.ffn_gate), each(*layer.ffn_up),
                             layer.down_by_neuron ? each(down) : down.rows * each(down) / plan_.shape.ff});
  }
}

CudaDevice::~CudaDevice() {
  end();
  if (!card_.is_stuck()) return;
  // Giving memory back waits for a card that never comes to its end.
  exchange_.release();
  crossing_memory_.release();
}

void CudaDevice::end() noexcept {
  if (card_.is_stuck()) return static_cast<void>(session_.release());
  session_.reset();
  card_.unshare();
}

// Positions that a slot held in an earlier arena are forgotten with its StepCheck: no row can attend to them.
void CudaDevice::begin(Arena& arena) {
  check_arena(arena.options(), plan_);
  card_.share(arena.memory(), arena.bytes());
  session_ = std::make_unique<Session>(Session{arena, CardHandOver(card_, arena, plan_.schedule, plan_.executor),
                                               CardTimer(card_, arena.ring(plan_.executor), plan_.executor),
                                               StepCheck(plan_, arena.options().max_logit_rows),
                                               RecentlyUsed<std::pair<StepExtent, bool>, Alike>(kKeptOperations)});
}

void CudaDevice::run(const Step& step) {
  Session& session = *session_;
  session.check.check(step);
  session.hand_over.begin(step.number);
  if (step.exchange != 0) apply(step);
  crossing_->set_rows(step);
  if (share_.embeds) crossing_->embed(step, *tensors_.token_embd, file_, kernels_);
  const StepExtent extent = extent_of(step);
  Alike& alike = session.alike[{extent, step.observed}];
  const auto run = [&] {
    return card_.run(alike.captured, plan_.schedule.input_ready(step.number, 0), kPatienceNs,
                     session.arena.abort_flag(), [&] {
                       session.timer.begin(alike.phases);
                       enqueue(step, extent);
                     });
  };
  WaitResult result{};
  try {
    result = run();
  } catch (const Error& error) {
    // Others may have taken what was left of the card's memory. Steps of other kinds can be captured anew.
    if (error.code() != ErrorCode::out_of_memory || !session.alike.drop_others()) throw;
    result = run();
  }
  if (result != WaitResult::reached) {
    if (result == WaitResult::timed_out) {
      session.arena.fail({static_cast<int32_t>(plan_.executor), ErrorCode::timed_out,
                          "the card has come no further with step " + std::to_string(step.number) + " for " +
                              std::to_string(kPatienceNs / 1'000'000'000) + " s; restart this executor"});
    }
    card_.abandon(alike.captured);
  }
  session.hand_over.check_aborted();
  session.timer.write(step, alike.phases, crossing_->counts);
  if (share_.head) session.hand_over.signal_completed();
  session.alike.weigh(alike.captured.operations() + alike.phases.size());
}

StepExtent CudaDevice::extent_of(const Step& step) const {
  StepExtent extent{.rows = step.rows, .logit_rows = 0, .candidate_rows = 0, .candidates = 0, .positions = 0};
  int32_t deepest = 0;
  for (uint32_t r = 0; r < step.rows; ++r) {
    const StepRow& row = step.row[r];
    deepest = std::max(deepest, row.position);
    if (!share_.head) continue;
    if (row.wants_all()) ++extent.logit_rows;
    if (!row.wants_some()) continue;
    ++extent.candidate_rows;
    // A power of two, for few kinds of steps to differ in it.
    extent.candidates = std::max(extent.candidates, std::bit_ceil(static_cast<unsigned>(row.candidates)));
  }
  if (share_.owned_layers > 0) {
    extent.positions = launched_positions(static_cast<unsigned>(deepest) + 1, plan_.context_length);
  }
  return extent;
}

void CudaDevice::apply(const Step& step) {
  Timing record{};
  record.step = step.number;
  record.rows = step.rows;
  record.executor = plan_.executor;
  record.layer = -1;
  record.phase = Phase::exchange;
  record.start_ns = monotonic_ns();
  record.bytes = exchange_->apply(step.exchange);
  record.end_ns = monotonic_ns();
  session_->arena.ring(plan_.executor).write(record);
}

void CudaDevice::enqueue(const Step& step, const StepExtent& extent) {
  const size_t rows = extent.rows;
  CardTimer& timer = session_->timer;
  if (counts_anything()) CardStages::clear(card_.stream(), stages_->counts, plan_.shape.layers * sizeof(NeuronCounts));
  if (extent.wanting() > 0) {
    card_.copy_in(stages_->wanting, crossing_->wanting, extent.wanting() * sizeof(uint32_t));
  }
  if (share_.owned_layers > 0) {
    card_.copy_in(stages_->row, crossing_->row, rows * sizeof(StepRow));
    card_.copy_in(stages_->turns, crossing_->rope.turns(), rows * crossing_->rope.pairs() * sizeof(Rope::Turn));
  }
  if (share_.embeds) {
    card_.copy_in(stages_->residual, crossing_->embedded, rows * plan_.shape.embd * sizeof(float));
    timer.end(Phase::embed, rows * row_bytes(tensors_.token_embd->type, plan_.shape.embd));
  }
  for (uint32_t layer = 0; layer < share_.layers.size(); ++layer) {
    const LayerShare& share = share_.layers[layer];
    timer.enter_layer(layer, share.neurons.size());
    if (share.owner) {
      lead_layer(step, layer, extent);
    } else if (!share.neurons.empty()) {
      help_layer(step, layer, extent);
    }
  }
  timer.leave_layers();
  if (counts_anything()) {
    card_.copy_out(crossing_->counts, stages_->counts, plan_.shape.layers * sizeof(NeuronCounts));
  }
  if (share_.head) run_head(extent);
}

void CudaDevice::lead_layer(const Step& step, uint32_t layer, const StepExtent& extent) {
  const LayerShare& share = share_.layers[layer];
  const CardLayerWeights& weights = weights_.layers[layer];
  const LayerTensors& tensors = tensors_.layers[layer];
  Arena& arena = session_->arena;
  CardHandOver& hand_over = session_->hand_over;
  CardTimer& timer = session_->timer;
  const Stream stream = card_.stream();
  const size_t rows_bytes = size_t{extent.rows} * plan_.shape.embd * sizeof(float);
  const size_t words = extent.rows * active_words(plan_.shape.ff);
  if (share.residual_arrives) {
    hand_over.await_residual(layer - 1);
    timer.end(Phase::wait);
    CardStages::copy(stream, stages_->residual, card_.shared(arena.residual()), rows_bytes);
  }
  stages_->attend(stream, weights, cache_, share.cache_layer, extent);
  if (step.observed && arena.options().observation >= Observation::activations) {
    CardStages::copy(stream, card_.shared(arena.predictor_input(layer)), stages_->residual, rows_bytes);
  }
  timer.end(Phase::attention, tensors.attn_norm.bytes() + tensors.attn_q->bytes() + tensors.attn_k->bytes() +
                                  tensors.attn_v->bytes() + tensors.attn_output->bytes() + tensors.ffn_norm.bytes());
  if (weights.has_predictor) {
    stages_->predict(stream, weights, extent, stages_->counts + layer);
    timer.end_counted(Phase::predict, tensors.fc1->bytes() + tensors.fc2->bytes());
  }
  if (share.has_peers) {
    CardStages::copy(stream, card_.shared(arena.ffn_input()), stages_->ffn_input, rows_bytes);
    if (weights.has_predictor) {
      CardStages::copy(stream, card_.shared(arena.active_set()), stages_->active, words * sizeof(uint64_t));
    }
    hand_over.signal_input(layer);
  }
  if (!share.neurons.empty()) {
    run_neurons(step, layer, extent, stages_->partial);
  }
  std::vector<const double*> parts;
  for (const uint32_t holder : share.holders) {
    if (holder != plan_.executor) hand_over.await_partial(layer, holder);
    parts.push_back(holder == plan_.executor ? stages_->partial : card_.shared(arena.partial_sum(holder)));
  }
  if (share.has_peers) timer.end(Phase::wait);
  stages_->merge(stream, parts, extent);
  if (share.residual_leaves) {
    CardStages::copy(stream, card_.shared(arena.residual()), stages_->residual, rows_bytes);
  }
  timer.end(Phase::merge);
  if (share.residual_leaves) hand_over.signal_residual(layer);
}

// The input is copied once, for it is read once a neuron.
void CudaDevice::help_layer(const Step& step, uint32_t layer, const StepExtent& extent) {
  Arena& arena = session_->arena;
  const Stream stream = card_.stream();
  const bool predicted = weights_.layers[layer].has_predictor;
  session_->hand_over.await_input(layer);
  session_->timer.end(Phase::wait);
  CardStages::copy(stream, stages_->ffn_input, card_.shared(arena.ffn_input()),
                   size_t{extent.rows} * plan_.shape.embd * sizeof(float));
  if (predicted) {
    CardStages::copy(stream, stages_->active, card_.shared(arena.active_set()),
                     extent.rows * active_words(plan_.shape.ff) * sizeof(uint64_t));
  }
  run_neurons(step, layer, extent, card_.shared(arena.partial_sum(plan_.executor)));
  session_->hand_over.signal_partial(layer);
}

void CudaDevice::run_neurons(const Step& step, uint32_t layer, const StepExtent& extent, double* out) {
  CardObserver observer{};
  if (step.observed) {
    Arena& arena = session_->arena;
    const auto words = static_cast<unsigned>(active_words(plan_.shape.ff));
    observer = {card_.shared(arena.fired_counts(layer)), card_.shared(arena.fired_strengths(layer)), nullptr, words};
    if (arena.options().observation >= Observation::activations) {
      observer.fired_set = card_.shared(arena.fired_set(plan_.executor, layer));
      CardStages::clear(card_.stream(), observer.fired_set, size_t{extent.rows} * words * sizeof(uint64_t));
    }
  }
  stages_->run_neurons(card_.stream(), weights_.layers[layer].neurons, weights_.layers[layer].has_predictor, extent, out,
                       stages_->counts + layer, step.observed ? &observer : nullptr);
  const bool gpu = plan_.schedule.executors[plan_.executor] == ExecutorKind::gpu;
  session_->timer.end_counted(gpu ? Phase::hot : Phase::cold, 0, neuron_bytes_[layer]);
}

void CudaDevice::run_head(const StepExtent& extent) {
  Arena& arena = session_->arena;
  if (share_.residual_arrives) {
    session_->hand_over.await_residual(plan_.shape.layers - 1);
    session_->timer.end(Phase::wait);
    CardStages::copy(card_.stream(), stages_->residual, card_.shared(arena.residual()),
                     size_t{extent.rows} * plan_.shape.embd * sizeof(float));
  }
  uint64_t bytes = 0;
  if (extent.wanting() > 0) {
    stages_->head(card_.stream(), weights_, extent, card_.shared(arena.logits()), card_.shared(arena.candidates()));
    bytes = tensors_.output_norm.bytes() + tensors_.output->bytes();
  }
  session_->timer.end(Phase::head, bytes);
}

}  // namespace thermocline::cuda
