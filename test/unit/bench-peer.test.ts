import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Peer } from "../../bench/peer.js";
import { isRunning } from "../../bench/process-tree.js";
import { DIST } from "../support/executor-processes.js";

const ENTRY = fileURLToPath(new URL("../support/fake-peer.mjs", import.meta.url));
const OWNER = fileURLToPath(new URL("../support/companion-owner.mjs", import.meta.url));

function open(modelPath: string, signal = new AbortController().signal): Promise<Peer> {
  return Peer.open({ modelPath, threads: 2, contextLength: 64, gpuLayers: null, signal, entry: ENTRY });
}

test("tells what it is, and makes rates of the peer's own times", async () => {
  const peer = await open("good");
  try {
    expect(peer.description).toBe("a fake, 2 threads, good");
    expect(await peer.generate([1, 2, 3, 4], 3)).toEqual({
      tokens: [5, 6, 7],
      prefillTokensPerS: 200,
      decodeTokensPerS: 500,
      own: { prefillTokensPerS: 210, decodeTokensPerS: null },
    });
  } finally {
    await peer.close();
  }
  expect(isRunning(peer.pid)).toBe(false);
});

test.each([
  ["failing", "INTERNAL", "no room for the cache"],
  ["nonsense", "INTERNAL", "what nobody asked"],
  ["wrong-kind", "INTERNAL", "loaded instead of generated"],
  ["one-thread", "FAILED_PRECONDITION", "1 threads and was given 2"],
  ["dying", "UNAVAILABLE", "llama.cpp ended with code 3"],
])("refuses a peer that is %s", async (model, code, words) => {
  const peer = await open(model);
  try {
    await expect(peer.generate([1], 3)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
    });
  } finally {
    await peer.close();
  }
});

test("says why a peer could not load", async () => {
  await expect(open("missing")).rejects.toMatchObject({ message: "the peer failed: no such file" });
});

test("an abort ends the peer and whoever waits for it", async () => {
  const control = new AbortController();
  const peer = await open("silent", control.signal);
  const waiting = peer.generate([1], 3);
  const reason = new Error("enough");
  control.abort(reason);
  await expect(waiting).rejects.toBe(reason);
  await peer.close();
  expect(isRunning(peer.pid)).toBe(false);
  await expect(open("good", control.signal)).rejects.toBe(reason);
});

test("even a companion that never rests ends when its owner is killed", async () => {
  const owner = spawn(process.execPath, [OWNER, DIST, join(DIST, "bench/busy-neighbour.js")], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(owner.stdout, "data")) as [Buffer];
  const pid = Number(line.toString());
  expect(isRunning(pid)).toBe(true);
  owner.kill("SIGKILL");
  while (isRunning(pid)) await delay(20);
});
