// Everything that computes a step on the CPU, laid out in scratch memory.
#pragma once

#include "../rope.h"
#include "attention.h"
#include "head.h"
#include "neuron_operator.h"
#include "predictor.h"

namespace thermocline {

struct Stages {
  Stages(const EnginePlan& plan, const ModelTensors& tensors, const Share& share, uint32_t threads,
         MemoryLayout& scratch)
      : Stages(plan, tensors, share, threads, share.owned_layers > 0 ? plan.max_rows : 0,
               share.head ? plan.max_rows : 0, scratch) {}

  Rope rope;
  Attention attention;
  Predictor predictor;
  NeuronOperator neurons;
  Head head;

 private:
  // Room for the rows of a whole step, or for none where this executor has no use for it.
  Stages(const EnginePlan& plan, const ModelTensors& tensors, const Share& share, uint32_t threads, size_t owner_rows,
         size_t head_rows, MemoryLayout& scratch)
      : rope(plan.shape, owner_rows, scratch),
        attention(plan, owner_rows, threads, scratch),
        predictor(plan, tensors, owner_rows, scratch),
        neurons(plan, tensors, share, plan.max_rows, threads, scratch),
        head(plan.shape, head_rows, threads, scratch) {}
};

}  // namespace thermocline
