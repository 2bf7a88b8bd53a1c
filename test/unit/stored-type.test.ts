import { expect, test } from "vitest";
import {
  describeSubstitutions,
  FILE_TYPES,
  STORED_TYPES,
  type Substitution,
  storedTypeOf,
} from "../../coordinator/model/stored-type.js";
import type { WeightType } from "../../native/index.js";

const stored = (name: string, dims: number[], matrices: WeightType, predictors: WeightType = matrices) =>
  storedTypeOf(name, dims, { matrices, predictors }).type;

test("every type can be asked for, and has a number of its own in general.file_type", () => {
  expect(STORED_TYPES).toEqual(["f32", "f16", "q8_0", "q4_0", "bf16", "q4_k", "q5_k", "q6_k"]);
  expect(new Set(Object.values(FILE_TYPES)).size).toBe(STORED_TYPES.length);
});

test("vectors are F32 whatever is asked for", () => {
  for (const type of STORED_TYPES) {
    expect(stored("blk.0.attn_norm.weight", [4096], type)).toBe("f32");
    expect(stored("output_norm.weight", [4096, 1, 1], type)).toBe("f32");
  }
});

test("matrices, embedding and head among them, are of the type asked for, predictors of their own", () => {
  for (const type of STORED_TYPES) {
    expect(stored("token_embd.weight", [512, 32_000], type)).toBe(type);
    expect(stored("output.weight", [512, 32_000], type, "f16")).toBe(type);
    expect(stored("blk.11.fc1.weight", [512, 1024], "f16", type)).toBe(type);
    expect(stored("blk.11.fc2.weight", [1024, 512], "f16", type)).toBe(type);
    expect(stored("blk.11.ffn_down_t.weight", [512, 1024], type, "f16")).toBe(type);
  }
});

test("Q8_0 stands in where rows are no whole blocks of 256, F16 where they are no whole blocks of 32", () => {
  for (const type of ["q4_k", "q5_k", "q6_k"] as const) {
    expect(stored("t", [768, 2], type)).toBe(type);
    expect(stored("t", [192, 2], type)).toBe("q8_0");
    expect(stored("t", [100, 2], type)).toBe("f16");
  }
  for (const type of ["q8_0", "q4_0"] as const) {
    expect(stored("t", [192, 2], type)).toBe(type);
    expect(stored("t", [48, 2], type)).toBe("f16");
  }
  for (const type of ["f32", "f16", "bf16"] as const) expect(stored("t", [7, 2], type)).toBe(type);
});

test("one line names all tensors that were stored otherwise for one reason", () => {
  const substitutions = [
    ["token_embd.weight", [192, 9]],
    ["blk.0.ffn_gate.weight", [192, 9]],
    ["blk.1.ffn_gate.weight", [192, 9]],
    ["blk.0.ffn_down.weight", [768, 9]],
    ["blk.0.fc2.weight", [40, 9]],
  ].flatMap(([name, dims]): Substitution[] => {
    const { substitution } = storedTypeOf(name as string, dims as number[], {
      matrices: "q4_k",
      predictors: "q4_0",
    });
    return substitution === null ? [] : [substitution];
  });
  expect(describeSubstitutions(substitutions)).toEqual([
    "stored as Q8_0, since rows of 192 elements are no whole Q4_K blocks of 256: token_embd.weight, blk.*.ffn_gate.weight",
    "stored as F16, since rows of 40 elements are no whole Q4_0 blocks of 32: blk.*.fc2.weight",
  ]);
  expect(describeSubstitutions([])).toEqual([]);
});
