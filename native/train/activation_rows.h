// Rows that a model was observed to compute in one layer: what a predictor sees, and which neurons fired.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace thermocline {

// Whether a gate fires does not depend on its input's length, since an RMS norm comes before it; predictors without
// bias do not depend on it either. Rows are therefore scaled to a mean square of 1, and rows of a great length, as those
// of a text's first token may be, weigh no more than others.
struct ActivationRows {
  size_t embd = 0, ff = 0, count = 0;
  std::vector<float> inputs;    // [count][embd]
  std::vector<uint64_t> fired;  // [count][words()], neuron n is bit n % 64 of word n / 64

  size_t words() const { return (ff + 63) / 64; }
  const float* input(size_t row) const { return inputs.data() + row * embd; }
  const uint64_t* fired_set(size_t row) const { return fired.data() + row * words(); }
  bool fires(size_t row, size_t neuron) const { return fired_set(row)[neuron / 64] >> neuron % 64 & 1; }
  // Appends a row, scaled.
  void add(const float* input, const uint64_t* fired_set);
};

// Writes neurons' bits as 0 and 1.
void expand_fired(const uint64_t* fired_set, size_t ff, float* targets);

// Reads files of records: [embd] f32, then the fired set in whole words, all little-endian. Throws Error `not_found`
// (a file cannot be read), `corrupt` (no whole records, or a value that is no finite number).
ActivationRows read_activation_rows(const std::string& path, size_t embd, size_t ff);

// Every n-th row, so that `most` remain at most; their inputs only, [count][embd].
struct InputSample {
  size_t count;
  std::vector<float> inputs;
};
InputSample sample_inputs(const ActivationRows& rows, size_t most);

}  // namespace thermocline
