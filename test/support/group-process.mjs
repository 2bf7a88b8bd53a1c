// A coordinator's executor group in a process of its own, to be killed: group-process.mjs DIST OPTIONS_AS_JSON.
// Prints one line of JSON when it is ready: { pids }.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [, , dist, json] = process.argv;
const load = (path) => import(pathToFileURL(join(dist, path)).href);
const { ExecutorGroup, GROUP_DEFAULTS } = await load("coordinator/executors/group.js");
const { model, sources, limits, schedule } = JSON.parse(json);
for (const layer of schedule.layers) layer.neuronOwner = Uint8Array.from(Object.values(layer.neuronOwner));
const quiet = () => undefined;

const group = new ExecutorGroup({
  ...GROUP_DEFAULTS,
  executors: sources.map((source, index) => ({ name: `executor-${index}`, source })),
  model,
  limits,
  plan: () => schedule,
  log: { info: quiet, warn: quiet, error: quiet },
  onExecutorLog: quiet,
  onState: quiet,
});
await group.open();
console.log(JSON.stringify({ pids: group.placement.executors.map(({ pid }) => pid) }));
setInterval(() => undefined, 60_000);
