/** Ways to divide a model among executors, from none at all to the most scattered. */
import type { ExecutorKind, ModelShape, Schedule } from "../../native/index.js";

export interface Placement {
  name: string;
  schedule: Schedule;
}

type Owner = (neuron: number, layer: number) => number;

/**
 * @param group neurons of a group stay together: 1, or 32 where the file stores `ffn_down` one row an output
 */
export function placements({ layers, ff }: Pick<ModelShape, "layers" | "ff">, group: 1 | 32): Placement[] {
  const place = (
    name: string,
    executors: ExecutorKind[],
    { owner, attention, head }: { owner: Owner; attention: (layer: number) => number; head: number },
  ): Placement => ({
    name,
    schedule: {
      executors,
      head,
      layers: Array.from({ length: layers }, (_, layer) => ({
        attention: attention(layer),
        neuronOwner: Uint8Array.from({ length: ff }, (_, neuron) => owner(Math.floor(neuron / group), layer)),
      })),
    },
  });
  const groups = Math.ceil(ff / group);
  const on = (executor: number) => () => executor;
  const thirds: Owner = (neuron) => Math.floor((3 * neuron) / groups);
  return [
    place("one CPU executor", ["cpu"], { owner: on(0), attention: on(0), head: 0 }),
    place("all cold", ["gpu", "cpu"], { owner: on(1), attention: on(0), head: 0 }),
    place("all hot", ["gpu", "cpu"], { owner: on(0), attention: on(0), head: 0 }),
    place("half hot", ["gpu", "cpu"], { owner: (neuron) => neuron % 2, attention: on(0), head: 0 }),
    place(`${group === 1 ? "one neuron" : "32 neurons"} hot`, ["gpu", "cpu"], {
      owner: (neuron) => (neuron === Math.floor(groups / 2) ? 0 : 1),
      attention: on(1),
      head: 1,
    }),
    place("two CPU executors", ["cpu", "cpu"], {
      owner: (neuron) => (neuron < groups / 3 ? 0 : 1),
      attention: on(0),
      head: 0,
    }),
    place("three executors", ["gpu", "cpu", "cpu"], { owner: thirds, attention: on(0), head: 0 }),
    place("attention on each in turn", ["gpu", "cpu", "cpu"], {
      owner: thirds,
      attention: (layer) => layer % 3,
      head: 1,
    }),
    place("layers on each in turn", ["gpu", "cpu"], {
      owner: (_, layer) => layer % 2,
      attention: (layer) => layer % 2,
      head: layers % 2,
    }),
    place("head elsewhere", ["cpu", "cpu"], { owner: on(0), attention: on(0), head: 1 }),
  ];
}

/** The placement of that name. */
export function placement(
  shape: Pick<ModelShape, "layers" | "ff">,
  name: string,
  group: 1 | 32 = 1,
): Schedule {
  const found = placements(shape, group).find((known) => known.name === name);
  if (found === undefined) throw new Error(`there is no placement "${name}"`);
  return found.schedule;
}
