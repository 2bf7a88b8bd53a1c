// An executor's weights on a card: rows of card_rows.h, and of norms plain floats.
#pragma once

#include <vector>

#include "../engine.h"
#include "../memory_layout.h"
#include "../share.h"
#include "../weight_file.h"
#include "card_rows.h"

namespace thermocline::cuda {

struct CardAttentionWeights {
  CardNorm norm;
  CardMatrix q, k, v, output;
};

// One executor's neurons of a layer. Rows of weights lie in the neurons' order, whatever their numbers.
struct CardNeurons {
  CardMatrix gate, up;      // [neurons][embd]
  CardMatrix down;          // [neurons][embd], or, unless down_by_neuron, [embd][neurons]
  bool down_by_neuron;
  const uint32_t* numbers;  // [neurons] on the card

  unsigned count() const { return gate.count; }
};

struct CardLayerWeights {
  CardAttentionWeights attention;  // this, ffn_norm and the predictor: of the layer's owner
  CardNorm ffn_norm;
  CardMatrix fc1, fc2;             // if has_predictor
  bool has_predictor;              // of every executor
  CardNeurons neurons;
};

struct CardWeights {
  CardNorm output_norm;  // this and the head: of the head's executor
  CardMatrix output;
  std::vector<CardLayerWeights> layers;
};

// A part of every file row, which the rows on the card are put together from.
struct RowPiece {
  uint64_t offset;  // from the row's start
  size_t bytes;
};

// Rows of the model file that are copied to the card.
struct CardCopy {
  uint64_t offset;                // of the tensor
  size_t from_stride;
  const uint32_t* numbers;        // of the rows; null for 0, 1, ...
  size_t rows;
  std::vector<RowPiece> pieces;   // of each
  CardMatrix to;
  bool plain;                     // whether they stay as they are in the file, one behind another
};

// Memory that is filled with numbers.
struct CardNumbers {
  const std::vector<uint32_t>* numbers;
  const uint32_t* to;
};

struct PlacedCardWeights {
  CardWeights weights;
  std::vector<CardCopy> copies;
  std::vector<CardNumbers> numbers;
};

// Lays this executor's share out in `memory`, which may only be measuring. Nothing is copied yet. What is returned
// points into `share`.
PlacedCardWeights place_card_weights(const ModelTensors& tensors, const Share& share, MemoryLayout& memory);

// Takes bytes to the card. Returns when `from` may be overwritten.
using Upload = std::function<void(const void* to, const std::byte* from, size_t bytes)>;

// Throws Error `cancelled` soon after `cancel` is set, `corrupt` for rows outside the file.
void load_card_weights(const WeightFile& file, const PlacedCardWeights& placed, const Upload& upload,
                       const Progress& progress, const CancelFlag& cancel);

}  // namespace thermocline::cuda
