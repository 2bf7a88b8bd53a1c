/** From the start of a process to its first token, with the model's file in the page cache, and the memory that takes. */
import { createReadStream } from "node:fs";
import { loadModel } from "../coordinator/model/load-model.js";
import { loadTokenizer } from "../coordinator/model/tokenizer/load-tokenizer.js";
import { type Benchmark, medianFigure } from "./benchmark.js";
import { peerOnce, type Start, serveOnce } from "./from-scratch.js";
import { ownMemory, peerMemory } from "./load-memory.js";
import { PROMPT } from "./stack-under-test.js";
import { distribution } from "./statistics.js";
import { type Contender, takeTurns } from "./turns.js";
import { ratioFigure } from "./versus.js";

const READ_BYTES = 4 * 1024 ** 2;

export const load: Benchmark = async (context) => {
  const { modelPath, peer, signal, progress } = context;
  const model = await loadModel(modelPath, { activation: null });
  const prompt = loadTokenizer(model.file).encode(PROMPT, true, false);
  progress("load: reading the files into the page cache");
  for (const path of new Set([modelPath, ...(peer === null ? [] : [peer.path])])) {
    await readThrough(path, signal);
  }
  const contenders: Contender<Start>[] = [
    async () => ({ firstMs: await serveOnce(context, prompt, 1), libraryMs: 0 }),
  ];
  if (peer !== null) contenders.push(() => peerOnce(context, peer, prompt, 1));
  const [ours = [], theirs = []] = await takeTurns("load", contenders, context);
  const seconds = (starts: readonly Start[], of: keyof Start) => starts.map((start) => start[of] / 1000);
  const figures = [
    medianFigure("load to first token, --gpu off", "s", distribution(seconds(ours, "firstMs"))),
    ...(await ownMemory(context, model, prompt)),
  ];
  if (peer === null) return figures;
  return [
    ...figures,
    medianFigure("load to first token, llama.cpp", "s", distribution(seconds(theirs, "firstMs"))),
    medianFigure("node-llama-cpp's part of that", "s", distribution(seconds(theirs, "libraryMs"))),
    await peerMemory(context, peer, prompt),
    ratioFigure("load to first token", seconds(ours, "firstMs"), seconds(theirs, "firstMs")),
  ];
};

async function readThrough(path: string, signal: AbortSignal): Promise<void> {
  for await (const _ of createReadStream(path, { highWaterMark: READ_BYTES, signal }));
}
