#include "crossing.h"

#include <algorithm>

namespace thermocline::cuda {

Crossing::Crossing(const EnginePlan& plan, const Share& share, MemoryLayout& memory)
    : rope(plan.shape, share.owned_layers > 0 ? plan.max_rows : 0, memory),
      row(memory.take<StepRow>(plan.max_rows)),
      wanting(memory.take<uint32_t>(plan.max_rows)),
      embedded(memory.take<float>(share.embeds ? checked_product({plan.max_rows, plan.shape.embd}) : 0)),
      counts(memory.take<NeuronCounts>(plan.shape.layers)),
      turns_(share.owned_layers > 0) {}

void Crossing::set_rows(const Step& step) {
  std::copy_n(step.row, step.rows, row);
  uint32_t count = 0;
  for (const auto wants : {&StepRow::wants_all, &StepRow::wants_some}) {
    for (uint32_t r = 0; r < step.rows; ++r) {
      if ((step.row[r].*wants)()) wanting[count++] = r;
    }
  }
  if (turns_) rope.turn_to(step);
}

void Crossing::embed(const Step& step, const TensorRef& table, const WeightFile& file, const Kernels& kernels) {
  const size_t bytes = row_bytes(table.type, table.cols);
  for (size_t r = 0; r < step.rows; ++r) {
    const std::byte* from = file.data() + table.offset + static_cast<size_t>(step.row[r].token) * bytes;
    kernels.dequantize[static_cast<size_t>(table.type)](from, embedded + r * table.cols, table.cols);
  }
}

}  // namespace thermocline::cuda
