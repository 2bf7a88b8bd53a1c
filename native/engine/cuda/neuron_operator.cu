#include "neuron_operator.h"

#include "down_by_neuron.h"
#include "down_by_output.h"
#include "gates.h"
#include "ups.h"

namespace thermocline::cuda {

void NeuronOperator::run(Stream stream, const CardNeurons& neurons, const NeuronRule& rule, const CardInputs& h,
                         unsigned rows, const uint64_t* active, unsigned ff, const CardObserver* observer, double* out,
                         NeuronCounts* counts) const {
  const auto words = static_cast<unsigned>(active_words(ff));
  const TileNeurons tile{hidden_, nonzero_, fired_, whole_words(neurons.count())};
  for_tiles(rows, [&]<unsigned X>(unsigned first) {
    const Visited visited{active == nullptr ? nullptr : active + size_t{first} * words, words, neurons.numbers};
    find_gates<X>(stream, neurons.gate, visited, h, first, gates_, tile.stride);
    find_hidden<X>(stream, neurons.up, rule, visited, h, first, gates_, tile, counts);
    if (observer != nullptr) {
      CardObserver of_tile = *observer;
      if (of_tile.fired_set != nullptr) of_tile.fired_set += size_t{first} * of_tile.words;
      observe<X>(stream, tile, neurons.numbers, neurons.count(), of_tile);
    }
    double* to = out + size_t{first} * h.cols;
    if (neurons.down_by_neuron) {
      sum_down_by_neuron<X>(stream, neurons.down, tile, partial_, to, counts);
    } else {
      sum_down_by_output<X>(stream, neurons.down, tile, quantized_, to, counts);
    }
  });
}

}  // namespace thermocline::cuda
