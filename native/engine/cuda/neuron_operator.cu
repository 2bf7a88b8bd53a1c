#include "neuron_operator.h"

#include "down_by_neuron.h"
#include "down_by_output.h"
#include "gates.h"
#include "hidden.h"
#include "ups.h"

namespace thermocline::cuda {
namespace {

// Whether gates and ups of a tile of rows are those of all neurons, whichever of them a row needs: multiply() then
// reads them once, with fewer instructions a term, while chosen ones are read anew for every kMostRows rows.
//
// Without a predictor gates are of all neurons anyway, and of ups a second tile costs gates as many bytes as chosen ups
// would have saved. With one, two whole tiles read as much as all neurons are where one tile needs half of them. That
// it does when a row needs 8 %, and rows need different ones: 1 - 0.92^8; of PowerInfer's models it is 10 % to 20 %.
bool computes_all(unsigned rows, bool predicted) { return predicted ? rows >= 2 * kMostRows : rows > kMostRows; }

}  // namespace

void NeuronOperator::run(Stream stream, const CardNeurons& neurons, const NeuronRule& rule, const CardInputs& h,
                         unsigned rows, const uint64_t* active, unsigned ff, const CardObserver* observer, double* out,
                         NeuronCounts* counts) const {
  const auto words = static_cast<unsigned>(active_words(ff));
  for_many(rows, [&](unsigned first, unsigned count) {
    const TileNeurons many{hidden_, nonzero_, fired_, whole_words(neurons.count())};
    const Visited visited = Visited{active, words, neurons.numbers}.from(first);
    const bool all = computes_all(count, active != nullptr), sums_all = all && wants_blocks(neurons.down.type);
    if (all) {
      multiply(stream, neurons.gate, h, first, count, gates_, many.stride);
      multiply(stream, neurons.up, h, first, count, many.hidden, many.stride);
      find_hidden_of_all(stream, neurons.count(), sums_all ? neurons.count() : 0, rule, visited, count, gates_, many,
                         counts);
    }
    if (sums_all) {
      double* to = out + size_t{first} * h.cols;
      if (neurons.down_by_neuron) {
        sum_down_of_many_by_neuron(stream, neurons.down, many, count, partial_, to);
      } else {
        sum_down_of_many_by_output(stream, neurons.down, many, count, quantized_, to);
      }
    }
    for_tiles(count, [&](unsigned offset, unsigned rows_of_tile) {
      const TileNeurons tile = many.from(offset);
      for_tile(rows_of_tile, [&]<unsigned X>() {
        if (!all) {
          float* gates = gates_ + size_t{offset} * many.stride;
          const Visited by_tile = visited.from(offset);
          find_gates<X>(stream, neurons.gate, by_tile, h, first + offset, gates, tile.stride);
          find_hidden<X>(stream, neurons.up, rule, by_tile, h, first + offset, gates, tile, counts);
        }
        if (observer == nullptr) return;
        CardObserver of_tile = *observer;
        if (of_tile.fired_set != nullptr) of_tile.fired_set += size_t{first + offset} * of_tile.words;
        observe<X>(stream, tile, neurons.numbers, neurons.count(), of_tile);
      });
      if (sums_all) return;
      double* to = out + size_t{first + offset} * h.cols;
      if (neurons.down_by_neuron) {
        sum_down_by_neuron(stream, neurons.down, tile, rows_of_tile, partial_, to, counts);
      } else {
        sum_down_by_output(stream, neurons.down, tile, rows_of_tile, quantized_, to, counts);
      }
    });
  });
}

}  // namespace thermocline::cuda
