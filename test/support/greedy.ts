/** Greedy generation straight on an engine stack. */
import type { StepRow } from "../../native/index.js";
import { argmax } from "../oracle/forward.js";
import type { EngineStack } from "./engine-stack.js";
import { interleaved, type Sequences } from "./steps.js";

export interface Generation {
  /** The generated tokens of each prompt. */
  tokens: number[][];
  /** The logits each of them was chosen by. */
  logits: Float32Array[][];
}

/**
 * Continues every prompt by `count` tokens, each prompt in the slot of its index and all of them together.
 *
 * @param chunk prompt tokens of each slot in one step
 */
export async function generateGreedily(
  stack: EngineStack,
  prompts: Sequences,
  count: number,
  chunk: number,
): Promise<Generation> {
  const logits: Float32Array[][] = prompts.map(() => []);
  const tokens: number[][] = prompts.map(() => []);
  const compute = async (rows: readonly StepRow[]) => {
    const computed = await stack.run(rows);
    rows
      .filter(({ wantsLogits }) => wantsLogits)
      .forEach(({ slot }, i) => {
        const row = computed[i] ?? new Float32Array();
        logits[slot]?.push(row);
        tokens[slot]?.push(argmax(row));
      });
  };
  for (const step of interleaved(
    prompts,
    prompts.map(() => chunk),
  )) {
    const isLast = ({ slot, position }: StepRow) => position + 1 === prompts[slot]?.length;
    await compute(step.map((row) => ({ ...row, wantsLogits: isLast(row) })));
  }
  for (let generated = 1; generated < count; generated++) {
    await compute(
      prompts.map((prompt, slot) => ({
        token: tokens[slot]?.at(-1) ?? 0,
        position: prompt.length + generated - 1,
        slot,
        wantsLogits: true,
      })),
    );
  }
  return { tokens, logits };
}
