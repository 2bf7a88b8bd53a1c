// Weight types' sizes and names, and which kernels a CPU gets.
#include "../kernels/kernels.h"

#include <set>
#include <string>

#include "check.h"
#include "instruction_sets.h"
#include "weight_rows.h"

namespace thermocline {
namespace {

using namespace test;

TEST(rows_have_the_sizes_of_gguf) {
  CHECK_EQ(row_bytes(WeightType::f32, 96), 384u);
  CHECK_EQ(row_bytes(WeightType::f16, 96), 192u);
  CHECK_EQ(row_bytes(WeightType::bf16, 96), 192u);
  CHECK_EQ(row_bytes(WeightType::q8_0, 96), 102u);
  CHECK_EQ(row_bytes(WeightType::q4_0, 96), 54u);
  CHECK_EQ(row_bytes(WeightType::q4_k, 768), 432u);
  CHECK_EQ(row_bytes(WeightType::q5_k, 768), 528u);
  CHECK_EQ(row_bytes(WeightType::q6_k, 768), 630u);
  for (WeightType type : kTypes) CHECK_EQ(row_bytes(type, 0), 0u);
}

TEST(blocks_are_quantized_and_floats_are_not) {
  for (WeightType type : kTypes) CHECK_EQ(wants_quantized_activation(type), block_elements(type) > 1);
  CHECK_EQ(block_elements(WeightType::q8_0), kBlock);
  CHECK_EQ(block_elements(WeightType::q4_0), kBlock);
  for (WeightType type : {WeightType::q4_k, WeightType::q5_k, WeightType::q6_k}) {
    CHECK_EQ(block_elements(type), kSuperBlock);
  }
}

TEST(each_type_has_a_name_of_its_own) {
  CHECK_EQ(std::size(kTypes), size_t{kWeightTypes});
  std::set<std::string> names;
  for (WeightType type : kTypes) names.insert(name_of(type));
  CHECK_EQ(names.size(), std::size(kTypes));
  CHECK_EQ(std::string(name_of(WeightType::bf16)), "bf16");
  CHECK_EQ(std::string(name_of(WeightType::q6_k)), "q6_k");
}

TEST(each_instruction_set_has_a_name_of_its_own) {
  std::set<std::string> names;
  for (int set = 0; set < kInstructionSets; ++set) names.insert(name_of(static_cast<InstructionSet>(set)));
  CHECK_EQ(names.size(), size_t{kInstructionSets});
  CHECK_EQ(names.count("unknown"), 0u);
}

TEST(each_set_has_its_own_kernels_and_the_best_come_last) {
  CHECK(kernels_for(InstructionSet::scalar) != nullptr);
  for (int index = 0; index < kInstructionSets; ++index) {
    const auto set = static_cast<InstructionSet>(index);
    if (const Kernels* kernels = kernels_for(set)) CHECK_EQ(kernels->instruction_set, set);
  }
  CHECK(&best_kernels() == instruction_sets().back());
}

TEST(no_set_lacks_a_kernel) {
  for (const Kernels* kernels : instruction_sets()) {
    for (WeightType type : kTypes) {
      CHECK(kernels->multiply_rows[index_of(type)] != nullptr);
      CHECK(kernels->add_rows_f64[index_of(type)] != nullptr);
      CHECK(kernels->accumulate[index_of(type)] != nullptr);
      CHECK(kernels->dequantize[index_of(type)] != nullptr);
    }
  }
}

}  // namespace
}  // namespace thermocline
