// Everything that a card computes of a step, enqueued, with its memory laid out as scratch.
#pragma once

#include <compare>
#include <span>

#include "../rope.h"
#include "../share.h"
#include "attention.h"
#include "candidates.h"
#include "card_weights.h"
#include "neuron_operator.h"
#include "predictor.h"

namespace thermocline::cuda {

// What is enqueued depends on this and on nothing else of a step: the rows themselves are in the card's memory.
struct StepExtent {
  unsigned rows;
  unsigned logit_rows;      // that want all their logits
  unsigned candidate_rows;  // that want only the highest,
  unsigned candidates;      // at most so many
  unsigned positions;       // that attention is launched for; 0 where this executor runs none

  unsigned wanting() const { return logit_rows + candidate_rows; }
  auto operator<=>(const StepExtent&) const = default;
};

class CardStages {
 public:
  CardStages(const EnginePlan& plan, const ModelTensors& tensors, const Share& share, MemoryLayout& scratch);

  // Of the step at hand, in the card's memory.
  StepRow* row;          // [rows]
  uint32_t* wanting;     // [wanting()] which rows want logits, first those that want all
  Rope::Turn* turns;           // [rows][rope_dims / 2]
  float* residual;       // [rows][embd]
  float* ffn_input;      // [rows][embd]
  uint64_t* active;      // [rows][active_words(ff)]
  double* partial;       // [rows][embd]
  NeuronCounts* counts;  // [layers]

  // residual += attention(residual); then ffn_input from it.
  void attend(Stream stream, const CardLayerWeights& weights, const CardCache& cache, unsigned cache_layer,
              const StepExtent& extent);
  // active from residual.
  void predict(Stream stream, const CardLayerWeights& weights, const StepExtent& extent, NeuronCounts* did);
  // out = the share of these neurons in the FFN's output for ffn_input; with `predicted`, of those in active alone.
  // `observer`, whose fired set is clear, is told of those that fire, unless it is null.
  void run_neurons(Stream stream, const CardNeurons& neurons, bool predicted, const StepExtent& extent, double* out,
                   NeuronCounts* did, const CardObserver* observer);
  // residual += the sum of parts, each [rows][embd], in that order.
  void merge(Stream stream, std::span<const double* const> parts, const StepExtent& extent);
  // Of the rows that want them: logits [logit_rows][vocab], candidates [candidate_rows][kMostCandidates].
  void head(Stream stream, const CardWeights& weights, const StepExtent& extent, float* logits, Candidate* candidates);
  // `to` and `from` begin at multiples of 4, and have as many bytes.
  static void copy(Stream stream, void* to, const void* from, size_t bytes);
  static void clear(Stream stream, void* memory, size_t bytes);

 private:
  // Logits of `count` of the rows that want any, [count][vocab].
  void project(Stream stream, const CardWeights& weights, unsigned first, unsigned count, float* logits);

  ModelShape shape_;
  float* normed_;            // [rows][embd]
  float* q_;                 // [rows][heads][head_dim]
  float* k_;                 // [rows][kv_heads][head_dim]
  float* v_;
  float* attended_;          // [rows][heads][head_dim]
  float* projected_;         // [rows][embd]
  Q8Activation* quantized_;  // [rows][the widest input / 32]
  unsigned selected_rows_;   // whose candidates are found at a time
  float* logits_;            // [selected_rows][vocab]
  CandidateSelection selection_;
  AttentionScratch attention_;
  Predictor predictor_;
  NeuronOperator neurons_;
};

}  // namespace thermocline::cuda
