/** A server that moves neurons while it serves: the same text, and a round that can be seen. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import { OtlpReceiver } from "../support/otlp-receiver.js";
import { splitPlacement } from "../support/split-placement.js";
import { type Request, TestClient } from "./support/client.js";
import { logOf, PATIENCE_MS, Sandbox, type Server } from "./support/sandbox.js";

const REQUESTS: Request[] = ["Once upon a time", "Tom had a red ball", "The little bird", "Mom said"].map(
  (prompt) => ({ prompt, maxTokens: 120, ignoreEos: true }),
);

let sandbox: Sandbox;
let receiver: OtlpReceiver;
/** Half of the neurons on the GPU executor, however often they fire. */
let split: string[];
beforeAll(async () => {
  sandbox = new Sandbox();
  receiver = await OtlpReceiver.start();
  const model = await loadModel(bundledModelPath(), { activation: null });
  split = splitPlacement(join(sandbox.path, "placement.json"), model);
});
afterAll(async () => {
  await sandbox.remove();
  receiver?.close();
});

async function textsOf(server: Server): Promise<string[]> {
  const client = new TestClient(server.address);
  try {
    return await Promise.all(REQUESTS.map((request) => client.text(request)));
  } finally {
    client.close();
  }
}

const rounds = () => receiver.spans.filter(({ name }) => name === "re-placement");

test("requests at the same time get the text of a server whose neurons stay, before, during and after", async () => {
  const still = await sandbox.serve(...split, "--re-placement", "off", "--otlp-endpoint", receiver.endpoint);
  const expected = await textsOf(still);
  still.command.kill("SIGTERM");
  await still.command.ended;
  expect(rounds()).toEqual([]);

  const moving = await sandbox.serve(...split, "--otlp-endpoint", receiver.endpoint);
  const answers: string[][] = [];
  for (const end = Date.now() + PATIENCE_MS; rounds().length === 0; ) {
    if (Date.now() > end) throw new Error(`no round within ${PATIENCE_MS} ms`);
    answers.push(await textsOf(moving));
  }
  answers.push(await textsOf(moving));
  expect(answers).toEqual(answers.map(() => expected));

  const [round] = rounds();
  if (round === undefined) throw new Error("there is no round");
  expect(round).toMatchObject({ service: "thermocline-coordinator", parentSpanId: "" });
  expect(receiver.childrenOf(round).map(({ name }) => name)).toEqual(["stage", "apply"]);
  const { attributes } = round;
  expect(attributes["thermocline.re_placement.neurons"]).toBeGreaterThan(0);
  expect(attributes["thermocline.re_placement.bytes"]).toBeGreaterThan(0);
  moving.command.kill("SIGTERM");
  await moving.command.ended;
  expect(receiver.metric("thermocline.re_placement.neurons")?.points[0]?.value).toBeGreaterThan(0);
});

test("where nothing can move the log says why", async () => {
  const server = await sandbox.serve("--gpu", "off");
  expect(logOf(server)).toContainEqual(
    expect.objectContaining({
      msg: "no neuron will move between executors while requests run",
      reason: "there is no GPU executor",
    }),
  );
  server.command.kill("SIGTERM");
  await server.command.ended;
});
