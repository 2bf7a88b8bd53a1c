// Blocks and elements against llama.cpp's own: libggml-base.so, whose path is in THERMOCLINE_GGML_BASE (CMake takes it
// from the npm package node-llama-cpp). Where it is not, formats_test holds the formats to their error bounds alone.
#include <dlfcn.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "../formats/formats.h"
#include "check.h"
#include "weight_samples.h"

namespace thermocline {
namespace {

using namespace test;

struct Counterpart {
  WeightType type;
  int ggml_type;  // as GGUF numbers them
  const char* dequantize;
};
constexpr Counterpart kCounterparts[] = {
    {WeightType::f16, 1, "ggml_fp16_to_fp32_row"},   {WeightType::bf16, 30, "ggml_bf16_to_fp32_row"},
    {WeightType::q4_0, 2, "dequantize_row_q4_0"},    {WeightType::q8_0, 8, "dequantize_row_q8_0"},
    {WeightType::q4_k, 12, "dequantize_row_q4_K"},   {WeightType::q5_k, 13, "dequantize_row_q5_K"},
    {WeightType::q6_k, 14, "dequantize_row_q6_K"},
};

class Ggml {
 public:
  explicit Ggml(const char* path) : library_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    if (library_ == nullptr) fail(__FILE__, __LINE__, "THERMOCLINE_GGML_BASE cannot be loaded: ", dlerror());
    quantize_chunk_ = symbol<QuantizeChunk>("ggml_quantize_chunk");
  }

  std::vector<uint8_t> quantize(const Counterpart& type, const std::vector<float>& x) const {
    std::vector<uint8_t> row(row_bytes(type.type, x.size()));
    const size_t bytes =
        quantize_chunk_(type.ggml_type, x.data(), row.data(), 0, 1, static_cast<int64_t>(x.size()), nullptr);
    CHECK_EQ(bytes, row.size());
    return row;
  }

  std::vector<float> dequantize(const Counterpart& type, const std::vector<uint8_t>& row, size_t cols) const {
    std::vector<float> x(cols);
    symbol<void(const void*, float*, int64_t)>(type.dequantize)(row.data(), x.data(), static_cast<int64_t>(cols));
    return x;
  }

 private:
  using QuantizeChunk = size_t(int type, const float* x, void* rows, int64_t start, int64_t row_count, int64_t cols,
                               const float* importance);

  template <class Function>
  Function* symbol(const char* name) const {
    void* found = dlsym(library_, name);
    if (found == nullptr) fail(__FILE__, __LINE__, "libggml-base.so has no ", name);
    return reinterpret_cast<Function*>(found);
  }

  void* library_;  // stays loaded
  QuantizeChunk* quantize_chunk_;
};

// nullptr, said aloud, where there is no library.
const Ggml* ggml() {
  const char* path = std::getenv("THERMOCLINE_GGML_BASE");
  if (path == nullptr || *path == '\0') {
    std::cout << "  NOT COMPARED with llama.cpp: THERMOCLINE_GGML_BASE names no libggml-base.so" << std::endl;
    return nullptr;
  }
  static const Ggml library(path);
  return &library;
}

void check_same(const Counterpart& type, const std::string& sample, const std::vector<uint8_t>& ours,
                const std::vector<uint8_t>& theirs) {
  for (size_t i = 0; i < theirs.size(); ++i) {
    if (ours[i] == theirs[i]) continue;
    fail(__FILE__, __LINE__, name_of(type.type), " of ", sample, ": byte ", i, " is ", int{ours[i]},
         " where llama.cpp writes ", int{theirs[i]});
  }
}

TEST(blocks_are_llama_cpps_bit_for_bit) {
  const Ggml* library = ggml();
  if (library == nullptr) return;
  Random random(1);
  for (int round = 0; round < 40; ++round) {
    for (const auto& [name, x] : weight_samples(random, 4 * kSuperBlock)) {
      for (const Counterpart& type : kCounterparts) {
        std::vector<uint8_t> row(row_bytes(type.type, x.size()));
        quantize_row(type.type, x.data(), row.data(), x.size());
        check_same(type, name, row, library->quantize(type, x));
      }
    }
  }
}

// Any bytes are a block, so long as its scales are finite numbers.
TEST(elements_are_llama_cpps_bit_for_bit) {
  const Ggml* library = ggml();
  if (library == nullptr) return;
  Random random(2);
  constexpr size_t kCols = 64 * kSuperBlock;
  for (const Counterpart& type : kCounterparts) {
    std::vector<uint8_t> row(row_bytes(type.type, kCols));
    for (uint8_t& byte : row) byte = static_cast<uint8_t>(random_bits(random));
    std::vector<float> ours(kCols);
    dequantize_row(type.type, row.data(), ours.data(), kCols);
    const std::vector<float> theirs = library->dequantize(type, row, kCols);
    for (size_t i = 0; i < kCols; ++i) {
      if (std::isnan(ours[i]) && std::isnan(theirs[i])) continue;
      CHECK_EQ(std::bit_cast<uint32_t>(ours[i]), std::bit_cast<uint32_t>(theirs[i]));
    }
  }
}

}  // namespace
}  // namespace thermocline
