/**
 * HiGHS, run on one program. Synchronous once loaded: see solve.ts for its thread. It is one thread of WebAssembly and
 * knows of no time limit, so that it takes the same steps on every machine.
 */
import type { SolveAnswer, SolveOrder } from "./solve.js";

/** Its types describe the CommonJS build; Node takes the module. */
type LoadHighs = typeof import("highs")["default"];

let loading: ReturnType<LoadHighs> | null = null;

export async function runHighs({ text, start, iterations, gap }: SolveOrder): Promise<SolveAnswer> {
  try {
    loading ??= ((await import("highs")).default as unknown as LoadHighs)();
    const highs = await loading;
    return highs.withModel({ format: "lp", data: text }, (model): SolveAnswer => {
      model.options.set({ output_flag: false, mip_rel_gap: gap, random_seed: 0 });
      const indices = start.map(([name]) => model.getColByName(name));
      model.setSolution({ indices, values: start.map(([, value]) => value) });
      model.run({
        // Most of its time goes into these, at the root, where limits of nodes do not count.
        [highs.constants.callbackType.mipInterrupt]: (event) => {
          if (Number(event.data.mip_total_lp_iterations ?? 0) >= iterations) event.interrupt();
        },
      });
      const { colValue } = model.getSolution();
      const values = Array.from(colValue, (value, index): [string, number] => [
        model.getColName(index),
        value,
      ]);
      const found = values.length > 0 && values.every(([, value]) => Number.isFinite(value));
      const optimal = model.getModelStatus() === highs.constants.modelStatus.optimal;
      return { kind: "solved", optimal, values: found ? values : null };
    });
  } catch (error) {
    return { kind: "failed", message: error instanceof Error ? error.message : String(error) };
  }
}
