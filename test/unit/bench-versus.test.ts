import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { BenchmarkContext } from "../../bench/benchmark.js";
import type { Peer } from "../../bench/peer.js";
import { PEER_LAYERS, withPeer } from "../../bench/versus.js";

const ENTRY = fileURLToPath(new URL("../support/fake-peer.mjs", import.meta.url));
const MIB = 1024 ** 2;
const TRIAL = {
  prompt: [1, 2],
  tokens: 3,
  rate: ({ decodeTokensPerS }: { decodeTokensPerS: number }) => decodeTokensPerS,
};

function contextOf(given: Partial<BenchmarkContext>): { context: BenchmarkContext; remarks: string[] } {
  const remarks: string[] = [];
  const context: BenchmarkContext = {
    ...{ runs: 1, tokens: 3, promptTokens: [2], modelPath: "ours", predictor: "auto", devices: ["cuda"] },
    ...{ vramBudgetBytes: 760, threads: 2, peer: { path: "card", bytesPerToken: 1 }, peerGpuLayers: null },
    ...{ readBytesPerS: 1, progress: () => undefined, remark: (text) => remarks.push(text) },
    ...{ signal: new AbortController().signal, ...given },
  };
  return { context, remarks };
}

const one = async (peer: Peer | null) => {
  await peer?.generate([1], 3);
  return [];
};

test("beside us on a card the report says how many layers the peer has there, and what of the budget they take", async () => {
  const { context, remarks } = contextOf({});
  const figures = await withPeer(context, 64, TRIAL, one, ENTRY);
  expect(figures.map(({ name, value, unit }) => [name, value, unit])).toEqual([
    [PEER_LAYERS, 5, "of 9"],
    ["card memory in use, llama.cpp", 650 / MIB, "MiB"],
    ["card memory, budget", 760 / MIB, "MiB"],
  ]);
  expect(remarks).toEqual([
    expect.stringContaining("llama.cpp: 5 of 9 layers on the card, the fastest of 6"),
    "llama.cpp: a fake, 2 threads, card",
    "llama.cpp: 650 B of the card's memory in use, of a budget of 760 B",
  ]);
});

test("layers that were given are not searched for, and it is said when they take more than the budget", async () => {
  const { context, remarks } = contextOf({ peerGpuLayers: 7 });
  const [layers] = await withPeer(context, 64, TRIAL, one, ENTRY);
  expect(layers?.value).toBe(7);
  expect(remarks.at(-1)).toBe("llama.cpp: 850 B of the card's memory in use, more than the budget of 760 B");
});

test.each<[string, Partial<BenchmarkContext>]>([
  ["the CPU", { devices: ["off"], vramBudgetBytes: null }],
  ["no device in particular", { devices: null, vramBudgetBytes: null }],
  ["the simulated card", { devices: ["host"] }],
])("beside us on %s it has no card", async (_, given) => {
  const { context, remarks } = contextOf({ ...given, peer: { path: "good", bytesPerToken: 1 } });
  let gpu: Peer["gpu"] | undefined;
  const figures = await withPeer(
    context,
    64,
    TRIAL,
    (peer) => {
      gpu = peer?.gpu;
      return Promise.resolve([]);
    },
    ENTRY,
  );
  expect([figures, gpu]).toEqual([[], null]);
  expect(remarks).toEqual(["llama.cpp: a fake, 2 threads, good"]);
});

test("a benchmark without a trial leaves it on the CPU, and without a peer there is none", async () => {
  const { context } = contextOf({ peer: { path: "good", bytesPerToken: 1 } });
  expect(await withPeer(context, 64, null, one, ENTRY)).toEqual([]);
  const alone = await withPeer({ ...context, peer: null }, 64, TRIAL, (peer) =>
    Promise.resolve([{ name: String(peer), value: 0, unit: "", quartiles: null, count: 1 }]),
  );
  expect(alone[0]?.name).toBe("null");
});
