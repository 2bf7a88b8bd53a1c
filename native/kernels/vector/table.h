// The table of an instruction set, from its vectors and its products of bytes.
#pragma once

#include "activations.h"
#include "exponentials.h"
#include "integer_sums.h"
#include "k_quant_panels.h"

namespace thermocline {
namespace {

// Lanes and PanelDot have one width; rows of blocks are computed in 256 bits by RowDot.
template <class Lanes, class PanelDot, class RowDot>
constexpr Kernels table(InstructionSet set) {
  return {
      .instruction_set = set,
      .multiply_rows = {multiply_float_rows<Lanes, F32>, multiply_float_rows<Lanes, F16>,
                        multiply_block_rows<F32Sums, RowsQ8_0<RowDot>>, multiply_block_rows<F32Sums, RowsQ4_0<RowDot>>,
                        multiply_float_rows<Lanes, BF16>, multiply_block_rows<F32Sums, RowsQ4_K<RowDot>>,
                        multiply_block_rows<F32Sums, RowsQ5_K<RowDot>>, multiply_block_rows<F32Sums, RowsQ6_K<RowDot>>},
      .multiply_panels = {nullptr, nullptr, multiply_panels<Lanes, F32Sums, PanelQ8_0<Lanes, PanelDot>>,
                          multiply_panels<Lanes, F32Sums, PanelQ4_0<Lanes, PanelDot>>, nullptr,
                          multiply_panels<Lanes, F32Sums, PanelQ4_K<Lanes, PanelDot>>,
                          multiply_panels<Lanes, F32Sums, PanelQ5_K<Lanes, PanelDot>>,
                          multiply_panels<Lanes, F32Sums, PanelQ6_K<Lanes, PanelDot>>},
      .add_rows_f64 = {add_float_rows_f64<Lanes, F32>, add_float_rows_f64<Lanes, F16>,
                       multiply_block_rows<F64Sums, RowsQ8_0<RowDot>>, multiply_block_rows<F64Sums, RowsQ4_0<RowDot>>,
                       add_float_rows_f64<Lanes, BF16>, multiply_block_rows<F64Sums, RowsQ4_K<RowDot>>,
                       multiply_block_rows<F64Sums, RowsQ5_K<RowDot>>, multiply_block_rows<F64Sums, RowsQ6_K<RowDot>>},
      .add_panels_f64 = {nullptr, nullptr, multiply_panels<Lanes, F64Sums, PanelQ8_0<Lanes, PanelDot>>,
                         multiply_panels<Lanes, F64Sums, PanelQ4_0<Lanes, PanelDot>>, nullptr,
                         multiply_panels<Lanes, F64Sums, PanelQ4_K<Lanes, PanelDot>>,
                         multiply_panels<Lanes, F64Sums, PanelQ5_K<Lanes, PanelDot>>,
                         multiply_panels<Lanes, F64Sums, PanelQ6_K<Lanes, PanelDot>>},
      .accumulate = {accumulate_floats<Lanes, F32>, accumulate_floats<Lanes, F16>,
                     accumulate_blocks<Lanes, PanelDot, BlockQ8_0>, accumulate_blocks<Lanes, PanelDot, BlockQ4_0>,
                     accumulate_floats<Lanes, BF16>, accumulate_blocks<Lanes, PanelDot, BlockQ4_K>,
                     accumulate_blocks<Lanes, PanelDot, BlockQ5_K>, accumulate_blocks<Lanes, PanelDot, BlockQ6_K>},
      .dequantize = {dequantize_floats<Lanes, F32>, dequantize_floats<Lanes, F16>, dequantize_blocks<Lanes, BlockQ8_0>,
                     dequantize_blocks<Lanes, BlockQ4_0>, dequantize_floats<Lanes, BF16>,
                     dequantize_blocks<Lanes, BlockQ4_K>, dequantize_blocks<Lanes, BlockQ5_K>,
                     dequantize_blocks<Lanes, BlockQ6_K>},
      .add_scaled_rows_f16 = add_scaled_rows_f16<Lanes>,
      .exp_minus = exp_minus<Lanes>,
      .silu_times = silu_times<Lanes>,
      .quantize = quantize,
      .to_f16 = to_f16,
  };
}

}  // namespace
}  // namespace thermocline
