// How close the card's kernels come to its memory's bandwidth: products of one row of activations and of many, and
// layers of neurons. A plain program: prints a table, or with --json one JSON object a line; says what it is at on stderr.
#include <cstdio>
#include <iostream>

#include "../engine/cuda/card.h"
#include "../engine/cuda/multiply.h"
#include "../engine/cuda/neuron_operator.h"
#include "gpu_clock.h"

namespace thermocline::bench {
namespace {

constexpr WeightType kTypes[] = {WeightType::f32,  WeightType::f16,  WeightType::bf16, WeightType::q8_0,
                                 WeightType::q4_0, WeightType::q4_k, WeightType::q5_k, WeightType::q6_k};
struct Size {
  unsigned rows, cols;
};
constexpr Size kProducts[] = {{4096, 4096}, {4096, 11008}, {11008, 4096}, {8192, 28672}, {28672, 8192}};
// Of activations, for one size.
constexpr unsigned kManyRows[] = {9, 16, 64, 512};
constexpr Size kManyRowsProduct = {11008, 4096};
struct LayerSize {
  const char* name;
  unsigned embd, ff;
};
constexpr LayerSize kLayers[] = {{"7B layer", 4096, 11008}, {"70B layer", 8192, 28672}};
constexpr double kShares[] = {0.1, 0.5};

constexpr size_t kCopied = size_t{1} << 30;
constexpr size_t kMostSlab = size_t{12} << 30;
// What is read before a matrix comes round again, over the cache's size.
constexpr double kCaches = 4;

struct Result {
  std::string what;
  const char* type;
  double us;
  double bytes;
};

class Report {
 public:
  Report(bool json, double copy_bytes_per_s) : json_(json), copy_bytes_per_s_(copy_bytes_per_s) {}

  void add(const Result& result) const {
    const double share = result.bytes / (1e-6 * result.us) / copy_bytes_per_s_;
    if (json_) {
      std::printf("{\"what\": \"%s\", \"type\": \"%s\", \"microseconds\": %.3f, \"bytes\": %.0f, "
                  "\"copyShare\": %.4f}\n",
                  result.what.c_str(), result.type, result.us, result.bytes, share);
    } else {
      std::printf("%-60s  %-5s  %10.2f us  %9.2f MB  %6.1f GB/s  %5.1f %%\n", result.what.c_str(), result.type,
                  result.us, result.bytes / 1e6, result.bytes / (1e3 * result.us), 100 * share);
    }
    std::fflush(stdout);
  }
  static void skip(const std::string& what, const char* type) {
    std::cerr << what << ", " << type << ": the card has too little memory for it\n";
  }

 private:
  bool json_;
  double copy_bytes_per_s_;
};

THERMOCLINE_KERNEL void copy_pieces(const uint4* from, uint4* to, size_t count) {
  const size_t step = size_t{gridDim.x} * blockDim.x;
  for (size_t i = size_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) to[i] = from[i];
}

// Read and written bytes a second, of a copy of as much as a gibibyte.
double copy_bytes_per_s(CardSlab& slab, CardClock& clock, int processors) {
  slab.clear();
  const size_t count = std::min(kCopied, slab.left() / 4) / sizeof(uint4);
  uint4* from = slab.take<uint4>(count);
  uint4* to = slab.take<uint4>(count);
  check(cudaMemset(from, 1, count * sizeof(uint4)), "clear memory");
  const double us = clock.microseconds(1, [&](size_t) {
    copy_pieces<<<static_cast<unsigned>(16 * processors), 512, 0, clock.stream()>>>(from, to, count);
    check(cudaGetLastError(), "copy");
  });
  return 2 * static_cast<double>(count * sizeof(uint4)) / (1e-6 * us);
}

// So many that what they read exceeds the cache, if there is room.
size_t copies_for(double read_each, size_t bytes_each, const CardSlab& slab, size_t cache) {
  // Beside them: a matrix' distinct rows, activations, scratch.
  constexpr size_t kBeside = size_t{256} << 20;
  const size_t room = slab.left() > kBeside ? (slab.left() - kBeside) / bytes_each : 0;
  if (room == 0) throw Error(ErrorCode::out_of_memory, "the card has too little memory");
  return std::clamp<size_t>(static_cast<size_t>(kCaches * static_cast<double>(cache) / read_each) + 1, 1, room);
}

struct Machine {
  CardSlab& slab;
  CardClock& clock;
  const Report& report;
  size_t cache;
  Random random{1};
};

std::vector<Q8Activation> quantized(const std::vector<float>& x) {
  std::vector<Q8Activation> blocks(x.size() / kBlock);
  best_kernels().quantize(x.data(), blocks.data(), x.size());
  return blocks;
}

void measure_product(Machine& machine, WeightType type, const Size& size, unsigned rows) {
  CardSlab& slab = machine.slab;
  slab.clear();
  const size_t bytes = size.rows * cuda::card_row_bytes(type, size.cols);
  const size_t copies = copies_for(static_cast<double>(bytes), bytes, slab, machine.cache);
  const auto matrices = random_matrices(slab, machine.random, type, size.rows, size.cols, copies);
  const std::vector<float> values = random_floats(machine.random, rows * size.cols);
  const cuda::CardInputs x{slab.put(values), slab.put(quantized(values)), size.cols};
  float* y = slab.take<float>(rows * size.rows);
  const double us = machine.clock.microseconds(copies, [&](size_t i) {
    cuda::multiply(machine.clock.stream(), matrices[i], x, 0, rows, y, size.rows);
  });
  const std::string what = rows == 1 ? "product, " : "product of " + std::to_string(rows) + " rows, ";
  machine.report.add({what + std::to_string(size.rows) + " x " + std::to_string(size.cols), name_of(type), us,
                      static_cast<double>(bytes)});
}

// For every row the neurons whose gates are above what the largest share of all gates is; the least of these.
struct Firing {
  std::vector<uint64_t> active;
  float threshold;
  unsigned count;
};

Firing largest(const std::vector<float>& gates, unsigned ff, double share) {
  std::vector<float> sorted = gates;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const float at = sorted[static_cast<size_t>(share * static_cast<double>(gates.size()))];
  const size_t words = active_words(ff);
  // Gates below 0 fire under no threshold.
  Firing firing{std::vector<uint64_t>(gates.size() / ff * words), std::max(at, 0x1p-126f), 0};
  for (size_t i = 0; i < gates.size(); ++i) {
    if (gates[i] < firing.threshold) continue;
    firing.active[i / ff * words + i % ff / 64] |= uint64_t{1} << i % ff % 64;
    ++firing.count;
  }
  return firing;
}

// How a layer's down is stored.
enum class Stored { by_neuron, by_output };

// For one row, and for as many as are computed together.
void measure_layer(Machine& machine, WeightType type, const LayerSize& size, Stored stored) {
  CardSlab& slab = machine.slab;
  const cuda::Stream stream = machine.clock.stream();
  slab.clear();
  const bool by_neuron = stored == Stored::by_neuron;
  const unsigned down_rows = by_neuron ? size.ff : size.embd, down_cols = by_neuron ? size.embd : size.ff;
  const size_t row = cuda::card_row_bytes(type, size.embd), down_row = cuda::card_row_bytes(type, down_cols);
  const size_t bytes = 2 * size.ff * row + down_rows * down_row;
  const size_t copies = copies_for(kShares[0] * static_cast<double>(bytes), bytes, slab, machine.cache);
  const auto gate = random_matrices(slab, machine.random, type, size.ff, size.embd, copies);
  const auto up = random_matrices(slab, machine.random, type, size.ff, size.embd, copies);
  const auto down = random_matrices(slab, machine.random, type, down_rows, down_cols, copies);
  std::vector<uint32_t> numbers(size.ff);
  for (uint32_t n = 0; n < size.ff; ++n) numbers[n] = n;
  const uint32_t* card_numbers = slab.put(numbers);
  const std::vector<float> values = random_floats(machine.random, cuda::kManyRows * size.embd);
  const cuda::CardInputs h{slab.put(values), slab.put(quantized(values)), size.embd};
  float* card_gates = slab.take<float>(cuda::kManyRows * size.ff);
  double* out = slab.take<double>(cuda::kManyRows * size.embd);
  auto* active = slab.take<uint64_t>(cuda::kManyRows * active_words(size.ff));
  auto* counts = slab.take<cuda::NeuronCounts>(1);
  const auto operator_in = [&](MemoryLayout& scratch) {
    return cuda::NeuronOperator(size.embd, cuda::kManyRows, by_neuron ? size.ff : 0, by_neuron ? 0 : size.ff, scratch);
  };
  MemoryLayout measured;
  operator_in(measured);
  MemoryLayout scratch(slab.take<std::byte>(measured.bytes()));
  const cuda::NeuronOperator neuron_operator = operator_in(scratch);

  for (const unsigned rows : {1u, cuda::kManyRows}) {
    cuda::multiply(stream, gate[0], h, 0, rows, card_gates, size.ff);
    check(cudaStreamSynchronize(stream), "compute gates");
    std::vector<float> gates(rows * size.ff);
    check(cudaMemcpy(gates.data(), card_gates, gates.size() * sizeof(float), cudaMemcpyDeviceToHost), "give gates");
    for (const double share : kShares) {
      const Firing firing = largest(gates, size.ff, share);
      check(cudaMemcpy(active, firing.active.data(), firing.active.size() * sizeof(uint64_t), cudaMemcpyHostToDevice),
            "take an active set");
      const cuda::NeuronRule rule{Activation::relu, firing.threshold};
      for (const bool predicted : {false, true}) {
        const auto run = [&](size_t i) {
          neuron_operator.run(stream, {gate[i], up[i], down[i], by_neuron, card_numbers}, rule, h, rows,
                              predicted ? active : nullptr, size.ff, nullptr, out, counts);
        };
        check(cudaMemset(counts, 0, sizeof *counts), "clear memory");
        check(cudaDeviceSynchronize(), "clear memory");
        run(0);
        check(cudaStreamSynchronize(stream), "compute neurons");
        cuda::NeuronCounts read{};
        check(cudaMemcpy(&read, counts, sizeof read, cudaMemcpyDeviceToHost), "give counts");
        if (read.fired != firing.count) {
          throw Error(ErrorCode::internal, std::to_string(read.fired) + " neurons fired instead of " +
                                               std::to_string(firing.count));
        }
        char what[96];
        std::snprintf(what, sizeof what, "%s, %s, %u rows, %.0f %% fire, %s", size.name,
                      by_neuron ? "by neuron" : "by output", rows, 100.0 * read.fired / rows / size.ff,
                      predicted ? "predicted" : "not predicted");
        const double downs = static_cast<double>(down_rows * down_row) * read.downs / size.ff;
        machine.report.add({what, name_of(type), machine.clock.microseconds(copies, run),
                            static_cast<double>((size_t{read.gates} + read.ups) * row) + downs});
      }
    }
  }
}

// Goes on with the next case where the card has too little memory for one.
template <class Measure>
void try_to(const std::string& what, WeightType type, const Measure& measure) {
  std::cerr << "measuring " << what << ", " << name_of(type) << '\n';
  try {
    measure();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::out_of_memory) throw;
    Report::skip(what, name_of(type));
  }
}

int run(bool json) {
  const CardInfo card = cuda::Card::probe();
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "describe itself");
  CardSlab slab(std::min(kMostSlab, static_cast<size_t>(0.8 * static_cast<double>(card.free_bytes))));
  CardClock clock;
  std::cerr << "measuring the copy bandwidth\n";
  const double copied = copy_bytes_per_s(slab, clock, properties.multiProcessorCount);
  if (json) {
    std::printf("{\"card\": \"%s\", \"compute\": \"%u.%u\", \"driver\": %u, \"cacheBytes\": %d, "
                "\"copyBytesPerS\": %.0f}\n",
                card.name.c_str(), card.compute_major, card.compute_minor, card.driver_version, properties.l2CacheSize,
                copied);
  } else {
    std::printf("%s, compute capability %u.%u: a copy reads and writes %.1f GB/s\n", card.name.c_str(),
                card.compute_major, card.compute_minor, copied / 1e9);
    std::printf("%-60s  %-5s  %13s  %12s  %11s  %s\n", "what", "type", "time", "read", "rate", "of the copy's");
  }
  const Report report(json, copied);
  Machine machine{slab, clock, report, static_cast<size_t>(properties.l2CacheSize)};
  for (const WeightType type : kTypes) {
    for (const Size& size : kProducts) {
      try_to("a product", type, [&] { measure_product(machine, type, size, 1); });
    }
    for (const unsigned rows : kManyRows) {
      try_to("a product of many rows", type, [&] { measure_product(machine, type, kManyRowsProduct, rows); });
    }
    for (const LayerSize& size : kLayers) {
      for (const Stored stored : {Stored::by_neuron, Stored::by_output}) {
        try_to(size.name, type, [&] { measure_layer(machine, type, size, stored); });
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace thermocline::bench

int main(int argc, char** argv) {
  const std::string option = argc > 1 ? argv[1] : "";
  if (argc > 2 || (argc == 2 && option != "--json")) {
    std::cerr << "gpu_kernels_bench: takes no arguments but --json\n";
    return 2;
  }
  try {
    return thermocline::bench::run(!option.empty());
  } catch (const std::exception& error) {
    std::cerr << "gpu_kernels_bench: " << error.what() << '\n';
    return 1;
  }
}
