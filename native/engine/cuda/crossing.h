// Host memory that a step's data cross the bus from, and to.
#pragma once

#include "../../arena/arena.h"
#include "../rope.h"
#include "../share.h"
#include "../weight_file.h"
#include "neuron_counts.h"

namespace thermocline::cuda {

struct Crossing {
  // Takes pinned memory for plan.max_rows rows.
  Crossing(const EnginePlan& plan, const Share& share, MemoryLayout& memory);

  // The step's rows, those of them that want logits, and where they turn to.
  void set_rows(const Step& step);
  // Looks the rows' embeddings up in the file's pages.
  void embed(const Step& step, const TensorRef& table, const WeightFile& file, const Kernels& kernels);

  Rope rope;             // where this executor runs attention
  StepRow* row;
  uint32_t* wanting;     // the rows that want logits
  float* embedded;       // [rows][embd]
  NeuronCounts* counts;  // [layers]

 private:
  bool turns_;
};

}  // namespace thermocline::cuda
