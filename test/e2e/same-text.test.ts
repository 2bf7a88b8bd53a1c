/** The same tokens for a request, whoever computes them and whoever else is served meanwhile. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Request, TestClient } from "./support/client.js";
import { Sandbox, type Server } from "./support/sandbox.js";

/** Of several lengths, greedy and drawn, one longer than a prompt chunk. */
const REQUESTS: Request[] = [
  { prompt: "Once upon a time", maxTokens: 48 },
  { prompt: "Tom had a red ball", maxTokens: 40 },
  { prompt: "One day a big dog went to the park with his friend.", maxTokens: 32 },
  { prompt: "The little bird", maxTokens: 48, sampling: { temperature: 0.9, topP: 0.95, seed: 11n } },
  { prompt: "Lily and Ben like to play in the garden. ".repeat(9), maxTokens: 24 },
  { prompt: "It was raining", maxTokens: 40, sampling: { temperature: 1, topK: 40, seed: 12n } },
  { prompt: "Mom said", maxTokens: 16, sampling: { repeatPenalty: 1.3 } },
  { prompt: "A cat", maxTokens: 48, stop: ["."] },
];

const STACKS = {
  "one CPU executor": ["--gpu", "off"],
  "a GPU and a CPU executor": ["--gpu", "host"],
  "a GPU executor with room for little, and three CPU executors": [
    ...["--gpu", "host", "--vram-budget", "4MiB", "--cpu-executors", "3"],
  ],
  "two CPU executors": ["--gpu", "off", "--cpu-executors", "2"],
};
/** Of the first stack, where nobody else is served. */
let alone: string[] = [];
const texts = (client: TestClient, requests: readonly Request[]) =>
  Promise.all(requests.map((request) => client.text(request)));

describe.each(Object.entries(STACKS))("%s", (_, options) => {
  let sandbox: Sandbox;
  let server: Server;
  let client: TestClient;
  beforeAll(async () => {
    sandbox = new Sandbox();
    server = await sandbox.serve("--slots", "8", ...options);
    client = new TestClient(server.address);
  });
  afterAll(async () => {
    client?.close();
    await sandbox.remove();
  });

  test("one request after the other", async () => {
    const here: string[] = [];
    for (const request of REQUESTS) here.push(await client.text(request));
    if (alone.length === 0) alone = here;
    expect(new Set(alone).size).toBe(REQUESTS.length);
    expect(here).toEqual(alone);
  });

  test("two at once", async () => {
    for (let first = 0; first < REQUESTS.length; first += 2) {
      expect(await texts(client, REQUESTS.slice(first, first + 2))).toEqual(alone.slice(first, first + 2));
    }
  });

  test("eight at once, and sixteen for eight slots", async () => {
    expect(await texts(client, REQUESTS)).toEqual(alone);
    expect(await texts(client, [...REQUESTS, ...REQUESTS])).toEqual([...alone, ...alone]);
  });
});
