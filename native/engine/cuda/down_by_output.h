// Products of down rows, one an output, with the hidden values of rows: what the CPU's add_rows_f64 adds
// (kernels.h), a block's product, or a float's, rounded to f32 and added in f64 or as wide (wide_sum.h). Groups of neurons
// that share a block of weights are left out where all their hidden values are 0.
#pragma once

#include "card_neurons.h"

namespace thermocline::cuda {

// out[j][embd] for the rows of a tile (for_tiles()). Neurons come in whole blocks of quantized weights; `quantized` has
// room for [rows][neurons / 32].
void sum_down_by_output(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
                        Q8Activation* quantized, double* out, NeuronCounts* counts);

// The same for up to kManyRows rows at once, of quantized weights, where all neurons are read.
void sum_down_of_many_by_output(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
                                Q8Activation* quantized, double* out);

}  // namespace thermocline::cuda
