/** A server that moves neurons while it serves: the same text, and a round that can be seen. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { OtlpReceiver } from "../support/otlp-receiver.js";
import { type Request, TestClient } from "./support/client.js";
import { logOf, PATIENCE_MS, Sandbox, type Server } from "./support/sandbox.js";

const REQUESTS: Request[] = ["Once upon a time", "Tom had a red ball", "The little bird", "Mom said"].map(
  (prompt) => ({ prompt, maxTokens: 120, ignoreEos: true }),
);
/** Small enough that neurons that fire often are left out. */
const OPTIONS = ["--gpu", "host", "--vram-budget", "6MiB"];

let sandbox: Sandbox;
let receiver: OtlpReceiver;
beforeAll(async () => {
  sandbox = new Sandbox();
  receiver = await OtlpReceiver.start();
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
  const still = await sandbox.serve(
    ...OPTIONS,
    "--re-placement",
    "off",
    "--otlp-endpoint",
    receiver.endpoint,
  );
  const expected = await textsOf(still);
  still.command.kill("SIGTERM");
  await still.command.ended;
  expect(rounds()).toEqual([]);

  const moving = await sandbox.serve(...OPTIONS, "--otlp-endpoint", receiver.endpoint);
  const answers: string[][] = [];
  let seen = false;
  const untilRound = receiver
    .waitFor("a round", () => rounds().length > 0, PATIENCE_MS)
    .finally(() => {
      seen = true;
    });
  while (!seen) answers.push(await textsOf(moving));
  await untilRound;
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
