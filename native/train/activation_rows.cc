#include "activation_rows.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "../error.h"

namespace thermocline {

void ActivationRows::add(const float* input, const uint64_t* fired_set) {
  double square = 0;
  for (size_t i = 0; i < embd; ++i) square += double{input[i]} * input[i];
  const double scale = square > 0 ? 1 / std::sqrt(square / static_cast<double>(embd)) : 0;
  for (size_t i = 0; i < embd; ++i) inputs.push_back(static_cast<float>(input[i] * scale));
  fired.insert(fired.end(), fired_set, fired_set + words());
  ++count;
}

void expand_fired(const uint64_t* fired_set, size_t ff, float* targets) {
  for (size_t n = 0; n < ff; ++n) targets[n] = static_cast<float>(fired_set[n / 64] >> n % 64 & 1);
}

ActivationRows read_activation_rows(const std::string& path, size_t embd, size_t ff) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw Error(ErrorCode::not_found, path + " cannot be read: collect activations again");
  const auto bytes = static_cast<size_t>(file.tellg());
  ActivationRows rows{embd, ff, 0, {}, {}};
  const size_t input_bytes = embd * sizeof(float), record = input_bytes + rows.words() * sizeof(uint64_t);
  if (bytes % record != 0) {
    throw Error(ErrorCode::corrupt, path + " has " + std::to_string(bytes) + " bytes, no whole records of " +
                                        std::to_string(record) + ": collect activations again");
  }
  const size_t count = bytes / record;
  rows.inputs.reserve(count * embd);
  rows.fired.reserve(count * rows.words());
  std::vector<float> input(embd);
  std::vector<uint64_t> fired(rows.words());
  file.seekg(0);
  for (size_t row = 0; row < count; ++row) {
    file.read(reinterpret_cast<char*>(input.data()), static_cast<std::streamsize>(input_bytes));
    file.read(reinterpret_cast<char*>(fired.data()), static_cast<std::streamsize>(record - input_bytes));
    if (!file) throw Error(ErrorCode::not_found, path + " cannot be read to its end: collect activations again");
    if (!std::all_of(input.begin(), input.end(), [](float x) { return std::isfinite(x); })) {
      throw Error(ErrorCode::corrupt, path + ": row " + std::to_string(row) +
                                          " holds a value that is no finite number: the model is damaged");
    }
    rows.add(input.data(), fired.data());
  }
  return rows;
}

InputSample sample_inputs(const ActivationRows& rows, size_t most) {
  InputSample sample{std::min(rows.count, most), {}};
  sample.inputs.reserve(sample.count * rows.embd);
  for (size_t i = 0; i < sample.count; ++i) {
    const float* input = rows.input(i * rows.count / sample.count);
    sample.inputs.insert(sample.inputs.end(), input, input + rows.embd);
  }
  return sample;
}

}  // namespace thermocline
