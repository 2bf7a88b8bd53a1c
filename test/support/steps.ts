/** Ways to cut sequences of tokens into steps, and to bring the logits back into the sequences' order. */
import type { StepRow } from "../../native/index.js";

/** Tokens of several sequences, each in the slot of its index. */
export type Sequences = readonly (readonly number[])[];

/** One sequence after the other, `size` tokens a step. */
export function inChunks(sequences: Sequences, size: number): StepRow[][] {
  return sequences.flatMap((tokens, slot) => {
    const rows = rowsOf(tokens, slot);
    return Array.from({ length: Math.ceil(rows.length / size) }, (_, chunk) =>
      rows.slice(chunk * size, (chunk + 1) * size),
    );
  });
}

/** All sequences at once, `share[slot]` tokens of each a step for as long as they last. */
export function interleaved(sequences: Sequences, share: readonly number[]): StepRow[][] {
  const left = sequences.map(rowsOf);
  const steps: StepRow[][] = [];
  while (left.some((rows) => rows.length > 0)) {
    steps.push(left.flatMap((rows, slot) => rows.splice(0, share[slot] ?? 1)));
  }
  return steps;
}

/** Runs the steps in order. @returns logits by sequence and position, one sequence behind the other */
export async function runSteps(
  stack: { run(rows: readonly StepRow[]): Promise<Float32Array[]> },
  steps: readonly (readonly StepRow[])[],
): Promise<Float32Array[]> {
  const computed: { slot: number; position: number; logits: Float32Array }[] = [];
  for (const rows of steps) {
    const logits = await stack.run(rows);
    rows.forEach(({ slot, position }, i) => {
      computed.push({ slot, position, logits: logits[i] ?? new Float32Array() });
    });
  }
  return computed.sort((a, b) => a.slot - b.slot || a.position - b.position).map(({ logits }) => logits);
}

function rowsOf(tokens: readonly number[], slot: number): StepRow[] {
  return tokens.map((token, position) => ({ token, position, slot, wantsLogits: true }));
}
