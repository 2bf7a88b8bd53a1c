// Where an executor's weights are: in the model file's pages (Residency::mapped) or in copies, repacked
// (Residency::resident).
#pragma once

#include <vector>

#include "../memory_layout.h"
#include "../model_tensors.h"
#include "../share.h"
#include "matrix.h"

namespace thermocline {

// f32 [embd] at any alignment; null for none.
struct NormWeights {
  const std::byte* weight;
  const std::byte* bias;

  uint64_t bytes(size_t embd) const { return ((weight != nullptr) + (bias != nullptr)) * embd * sizeof(float); }
};

struct AttentionWeights {
  NormWeights norm;
  Matrix q, k, v, output;
};

// One executor's neurons of a layer. In the map a neuron's place is its number. In resident copies it is its index among
// this executor's neurons, and its rows lie as they are read: those that every token needs (gates, unless a predictor
// chooses neurons; ups too with SiLU) in panels, the others together as the neuron's bundle.
struct NeuronWeights {
  Matrix gate, up;
  Matrix down;          // one row a neuron, or, unless down_by_neuron, one row an output
  bool down_by_neuron;
  bool compact;         // whether only this executor's neurons are there
  bool ascending;       // whether their numbers ascend, as they do until some change places (neuron_exchange.h)

  size_t place(size_t index, size_t number) const { return compact ? index : number; }
};

struct LayerWeights {
  AttentionWeights attention;  // this, ffn_norm and the predictor: of the layer's owner
  NormWeights ffn_norm;
  Matrix fc1, fc2;             // if has_predictor
  bool has_predictor;          // of every executor
  NeuronWeights neurons;
};

struct Weights {
  Matrix token_embd;             // of the first layer's owner
  NormWeights output_norm;       // this and the head: of the head's executor
  Matrix output;
  const std::byte* rope_freqs;   // f32 [rope_dims / 2] in the map, or null
  std::vector<LayerWeights> layers;
};

// Rows of the model file that are copied, or paged in where they are used in place.
struct Copy {
  uint64_t offset;          // of row 0
  size_t from_stride;
  const uint32_t* numbers;  // of the rows; null for 0, 1, ...
  size_t rows;
  size_t bytes;             // of each row
  WeightType type;
  std::byte* to;            // null when the rows' pages are used in place, or only measured
  size_t to_stride;         // to the next row, or panel
  Layout layout;

  uint64_t from(size_t row) const { return offset + (numbers == nullptr ? row : numbers[row]) * from_stride; }
  uint64_t total() const { return uint64_t{rows} * bytes; }
};

struct PlacedWeights {
  Weights weights;
  std::vector<Copy> copies;   // what must be copied, or paged in
  uint64_t bytes;             // weights computed with: copies with their padding, or rows in the map
};

// Lays this executor's share out. `file` is the start of the mapped model, or null to measure alone; resident weights
// are laid out in `memory`. Nothing is copied or read yet: load_weights() does that, while `share` lives. token_embd is
// never copied for looking rows up.
PlacedWeights place_weights(const ModelTensors& tensors, const Share& share, Activation activation,
                            Residency residency, const std::byte* file, MemoryLayout& memory);

}  // namespace thermocline
