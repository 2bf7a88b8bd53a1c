// Sums of down rows, one a neuron, scaled by the hidden values of rows: out[j][embd].
#pragma once

#include "card_neurons.h"
#include "nonzero_list.h"

namespace thermocline::cuda {

// For the rows of a tile (for_tiles()), which read the neurons that one of them needs. `partial` has room for
// partial_sums().
void sum_down_by_neuron(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows, double* partial,
                        double* out, NeuronCounts* counts);

// For up to kManyRows rows at once, of quantized weights, where all neurons are read. `partial` has room for
// partial_sums_of_many().
void sum_down_of_many_by_neuron(Stream stream, const CardMatrix& down, const TileNeurons& tile, unsigned rows,
                                double* partial, double* out);

}  // namespace thermocline::cuda
