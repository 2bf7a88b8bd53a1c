/** The thread behind `solve`: one program, one answer. */
import { parentPort, workerData } from "node:worker_threads";
import type { SolveAnswer, SolveOrder } from "./solve.js";

/** Its types describe the CommonJS build; Node takes the module. */
type LoadHighs = typeof import("highs")["default"];

const order: SolveOrder = workerData;
parentPort?.postMessage(await answer(order));

async function answer({ text, start, limitS, gap }: SolveOrder): Promise<SolveAnswer> {
  try {
    const load = (await import("highs")).default as unknown as LoadHighs;
    const highs = await load();
    return highs.withModel({ format: "lp", data: text }, (model): SolveAnswer => {
      model.options.set({ output_flag: false, time_limit: limitS, mip_rel_gap: gap, random_seed: 0 });
      const indices = start.map(([name]) => model.getColByName(name));
      model.setSolution({ indices, values: start.map(([, value]) => value) });
      model.run();
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
