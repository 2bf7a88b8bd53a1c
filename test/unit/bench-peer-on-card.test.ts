import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Peer, surveyPeer } from "../../bench/peer.js";
import { openOnCard, releaseFromCard } from "../../bench/peer-on-card.js";
import { isRunning } from "../../bench/process-tree.js";

/** Its card takes 150 bytes, 100 a layer, and 30 for code. */
const PEER = {
  ...{ modelPath: "card", threads: 2, contextLength: 64, signal: new AbortController().signal },
  entry: fileURLToPath(new URL("../support/fake-peer.mjs", import.meta.url)),
};
const TRIAL = {
  prompt: [1, 2],
  tokens: 3,
  rate: ({ decodeTokensPerS }: { decodeTokensPerS: number }) => decodeTokensPerS,
};

async function open(budgetBytes: number, given: number | null = null) {
  const remarks: string[] = [];
  const peer = await openOnCard(PEER, { budgetBytes, given, trial: TRIAL }, (text) => remarks.push(text));
  return { peer, remarks };
}

test("opens the peer with the fastest number of layers of those that fit, the kernels' code not counted", async () => {
  // 6 layers take 750, and 780 with code.
  const { peer, remarks } = await open(760);
  try {
    expect(peer.gpu).toEqual({ layers: 5, totalLayers: 9 });
    expect(remarks).toEqual([
      "5 of 9 layers on the card, the fastest of 6: 400.0 tokens/s, 5: 500.0 tokens/s, 4: 400.0 tokens/s",
    ]);
    await peer.generate([1], 3);
    expect(peer.peakVramBytes).toBe(680);
    expect(await releaseFromCard(peer)).toBe(650);
  } finally {
    await peer.close();
  }
});

test("a card that says it is full holds fewer layers", async () => {
  const { peer, remarks } = await open(2000);
  expect(remarks).toEqual([expect.stringContaining("the fastest of 8: ")]);
  await peer.close();
});

test("takes so many layers as are given, and refuses more than there are", async () => {
  const { peer, remarks } = await open(2000, 3);
  expect([peer.gpu?.layers, remarks]).toEqual([3, []]);
  await peer.close();
  await expect(open(2000, 12)).rejects.toThrow(
    "--peer-gpu-layers is 12, and llama.cpp took 9: the model has 9, its output included; give at most as many",
  );
});

test("a full card is an error of its own", async () => {
  await expect(Peer.open({ ...PEER, gpuLayers: 9 })).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    message: "the card is too small for the peer: CUDA: out of memory",
  });
});

test("a survey leaves no process behind", async () => {
  expect(await surveyPeer(PEER, 500)).toMatchObject({ totalLayers: 9, estimatedLayers: 4 });
  const peer = await Peer.open({ ...PEER, gpuLayers: 1 });
  await peer.close();
  expect(isRunning(peer.pid)).toBe(false);
});
