// Where an executor's weights are: in the model file's pages (Residency::mapped) or in copies (Residency::resident).
#pragma once

#include <vector>

#include "../model_tensors.h"
#include "../share.h"
#include "memory_layout.h"
#include "matrix.h"

namespace thermocline {

struct AttentionWeights {
  const std::byte* norm;  // f32 [embd]
  Matrix q, k, v, output;
};

// One executor's neurons of a layer. Resident copies keep each neuron's gate, up and down rows together as a bundle, in
// the order they are read; its place is then its index among this executor's neurons. In the map, it is its number.
struct NeuronWeights {
  Matrix gate, up;
  Matrix down;          // one row a neuron, or, unless down_by_neuron, one row an output
  bool down_by_neuron;
  bool compact;         // whether only this executor's neurons are there

  size_t place(size_t index, size_t number) const { return compact ? index : number; }
};

struct LayerWeights {
  AttentionWeights attention;  // this, ffn_norm and the predictor: of the layer's owner
  const std::byte* ffn_norm;   // f32 [embd]
  Matrix fc1, fc2;             // if has_predictor
  bool has_predictor;          // of every executor
  NeuronWeights neurons;
};

struct Weights {
  Matrix token_embd;             // of the first layer's owner
  const std::byte* output_norm;  // f32 [embd]; this and the head: of the head's executor
  Matrix output;
  const std::byte* rope_freqs;   // f32 [rope_dims / 2] in the map, or null
  std::vector<LayerWeights> layers;
};

// A rectangle of the model file: `rows` runs of `bytes` bytes.
struct Slice {
  uint64_t offset;
  size_t from_stride;
  size_t rows;
  size_t bytes;
  std::byte* to;  // its copy, or null when its pages are used in place (or only measured)
  size_t to_stride;

  uint64_t total() const { return uint64_t{rows} * bytes; }
};

struct PlacedWeights {
  Weights weights;
  std::vector<Slice> slices;  // what must be copied, or paged in
  uint64_t bytes;             // weights computed with: copies with their padding, or slices in the map
};

// Lays this executor's share out. `file` is the start of the mapped model, or null to measure alone; resident weights
// are laid out in `copies`. Nothing is copied or read yet: load_weights() does that. token_embd is never copied for
// looking rows up; where it is also the head, and resident here, the copy serves both.
PlacedWeights place_weights(const ModelTensors& tensors, const Share& share,
                            Residency residency, const std::byte* file, MemoryLayout& copies);

}  // namespace thermocline
