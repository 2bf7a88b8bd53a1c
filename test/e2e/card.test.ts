/**
 * A whole server on a card's kernels: on the CPU, emulated, and with THERMOCLINE_TEST_GPU=cuda on this machine's card as
 * well. What it says is what the CPU says.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import { OtlpReceiver } from "../support/otlp-receiver.js";
import { splitPlacement } from "../support/split-placement.js";
import { writeTinyModel } from "../support/tiny-model.js";
import { FIRST_LETTER } from "../support/tiny-vocabulary.js";
import { TestClient } from "./support/client.js";
import { PATIENCE_MS, Sandbox, type Server } from "./support/sandbox.js";

const DEVICES = process.env.THERMOCLINE_TEST_GPU === "cuda" ? ["emulated", "cuda"] : ["emulated"];
const TINY = { layers: 3, embd: 64, heads: 4, headDim: 16, ff: 192, contextLength: 128, seed: 12 };
/** Longer than a prompt chunk, and of some tokens. */
const REQUESTS = [80, 3, 9].map((length, place) => ({
  promptTokens: Array.from({ length }, (_, at) => FIRST_LETTER + ((at * (place + 3)) % 25)),
  maxTokens: 12,
  ignoreEos: true,
}));

let sandbox: Sandbox;
const models: Record<string, Model> = {};
beforeAll(async () => {
  sandbox = new Sandbox();
  const write = (name: string, options: object) =>
    writeTinyModel(join(sandbox.path, `${name}.gguf`), { ...TINY, ...options });
  models["q4_0 with predictors"] = await write("q4", { type: "q4_0", predictorRank: 32 });
  models["f16 with SiLU, down by outputs"] = await write("silu", {
    ...{ type: "f16", activation: "silu", downTransposed: false },
  });
  models["q8_0 of Orion's kind"] = await write("orion", { type: "q8_0", architecture: "orion", tied: false });
});
afterAll(() => sandbox.remove());

async function textsOf(server: Server, requests = REQUESTS): Promise<string[]> {
  const client = new TestClient(server.address);
  try {
    return await Promise.all(requests.map((request) => client.text(request)));
  } finally {
    client.close();
  }
}

async function served<T>(options: string[], use: (server: Server) => Promise<T>): Promise<T> {
  const server = await sandbox.serve("--slots", "4", ...options);
  try {
    return await use(server);
  } finally {
    server.command.kill("SIGTERM");
    await server.command.ended;
  }
}

describe.each(DEVICES)("--gpu %s", (device) => {
  test.each(["q4_0 with predictors", "f16 with SiLU, down by outputs", "q8_0 of Orion's kind"])(
    "says what the CPU says, with everything on it and with half: %s",
    async (name) => {
      const model = models[name];
      if (model === undefined) throw new Error(`there is no model ${name}`);
      const options = ["--model", model.path];
      const expected = await served([...options, "--gpu", "off"], textsOf);
      expect(new Set(expected).size).toBe(REQUESTS.length);
      expect(
        await served([...options, "--gpu", device, "--vram-budget", "64MiB"], async (server) => [
          ...(await textsOf(server)),
        ]),
      ).toEqual(expected);
      const split = splitPlacement(join(sandbox.path, `${device}.json`), model, "auto", device);
      expect(await served([...options, ...split], textsOf)).toEqual(expected);
    },
  );

  test("tells its part of every layer", async () => {
    const receiver = await OtlpReceiver.start();
    try {
      const model = models["q4_0 with predictors"];
      if (model === undefined) throw new Error("there is no model");
      const split = splitPlacement(join(sandbox.path, "traced.json"), model, "auto", device);
      const options = ["--model", model.path, "--otlp-endpoint", receiver.endpoint, ...split];
      await served(options, async (server) => {
        await textsOf(server, REQUESTS.slice(1, 2));
        await receiver.waitFor(
          "the trace",
          () => receiver.spans.some(({ name }) => name === "generate"),
          PATIENCE_MS,
        );
      });
      const own = receiver.spans.filter(({ service }) => service === "thermocline-gpu-executor");
      expect(new Set(own.map(({ name }) => name))).toEqual(
        new Set(["embed", "attention", "predict", "hot", "wait", "merge", "head"]),
      );
    } finally {
      receiver.close();
    }
  });

  test("a card that is lost comes back, and nothing else is", async () => {
    const model = models["q4_0 with predictors"];
    if (model === undefined) throw new Error("there is no model");
    const split = splitPlacement(join(sandbox.path, "lost.json"), model, "auto", device);
    await served(["--model", model.path, ...split], async (server) => {
      const expected = await textsOf(server);
      process.kill(sandbox.pidOf("gpu-executor"), "SIGKILL");
      await server.command.until(({ stderr }) => stderr.includes("recovering"), "the recovery");
      expect(await textsOf(server)).toEqual(expected);
    });
  });

  test("more than the budget is refused in one sentence before anything is loaded", async () => {
    const model = models["q4_0 with predictors"];
    if (model === undefined) throw new Error("there is no model");
    const { code, stderr } = await sandbox.run(
      ...["serve", "--model", model.path, "--gpu", device, "--vram-budget", "16KiB"],
    );
    expect(code).toBe(1);
    expect(stderr).toMatch(/^thermocline: a VRAM budget of 16.0 KiB is too small for this model: /m);
  });
});
