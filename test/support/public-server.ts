/** A public server on a port of its own, with a real batcher over a fake step runner behind it. */
import { Writable } from "node:stream";
import { pino } from "pino";
import type { InferenceDependencies } from "../../coordinator/api/inference-service.js";
import { type PublicServer, startServer } from "../../coordinator/api/server.js";
import type { Placement } from "../../coordinator/executors/group.js";
import type { Model } from "../../coordinator/model/model.js";
import { Batcher } from "../../coordinator/schedule/batcher.js";
import type { StepLimits } from "../../coordinator/schedule/step.js";
import { NOOP_OBSERVER } from "../../coordinator/telemetry/noop.js";
import { type Address, formatAddress } from "../../proto/address.js";
import { FAKE_VOCABULARY, FakeStepRunner } from "./fake-step-runner.js";
import { fakeTokenizer } from "./fake-tokenizer.js";

export const TEST_MODEL = {
  path: "/models/test.gguf",
  fileBytes: 123_456,
  name: "test model",
  architecture: "llama",
  shape: {
    layers: 2,
    embd: 64,
    heads: 4,
    kvHeads: 2,
    headDim: 16,
    ff: 5,
    vocab: FAKE_VOCABULARY,
    norm: "rms",
    normEpsilon: 1e-5,
    ropeBase: 10_000,
    ropeScale: 1,
    ropeDims: 16,
    ropePairs: "adjacent",
    activation: "relu",
    reluThreshold: 0.25,
    predictorThreshold: 0,
  },
  trainedContextLength: 2048,
  hasPredictor: true,
  downTransposed: true,
  parameters: 98_765,
  tensors: [],
} satisfies Omit<Model, "file">;

const memory = { weightBytes: 1000, kvCacheBytes: 200, scratchBytes: 30 };
export const TEST_PLACEMENT: Placement = {
  schedule: {
    executors: ["gpu", "cpu"],
    layers: [
      { attention: 0, neuronOwner: Uint8Array.of(0, 0, 1, 0, 1) },
      { attention: 1, neuronOwner: Uint8Array.of(1, 1, 1, 1, 1) },
    ],
    head: 0,
  },
  executors: [
    {
      name: "gpu",
      kind: "gpu",
      device: "host",
      card: null,
      budgetBytes: 4096,
      threads: 1,
      pid: 7,
      memory,
      instructionSet: "avx2",
    },
    {
      name: "cpu",
      kind: "cpu",
      device: "cpu",
      card: null,
      budgetBytes: 0,
      threads: 2,
      pid: 8,
      memory,
      instructionSet: "avx2",
    },
  ],
};

export interface TestServer {
  server: PublicServer;
  /** `http://127.0.0.1:port`; empty on a Unix socket. */
  url: string;
  /** Host and port. */
  port: number;
  /** As grpc-js wants it. */
  target: string;
  runner: FakeStepRunner;
  batcher: Batcher;
  /** The signals of the requests that reached the batcher. */
  signals: AbortSignal[];
  /** Lines that were logged. */
  log: string[];
  close(): Promise<void>;
}

export async function startTestServer(
  limits: Partial<StepLimits> = {},
  changes: Partial<InferenceDependencies> = {},
  address: Address = { kind: "tcp", host: "127.0.0.1", port: 0 },
): Promise<TestServer> {
  const sizes = { maxRows: 64, maxLogitRows: 16, slots: 4, contextLength: 2000, ...limits };
  const runner = new FakeStepRunner(sizes);
  const batcher = new Batcher(runner, fakeTokenizer, NOOP_OBSERVER);
  const signals: AbortSignal[] = [];
  const log: string[] = [];
  const sink = new Writable({
    write(line, _encoding, done) {
      log.push(String(line));
      done();
    },
  });
  const server = await startServer(address, {
    // The service reads no more of a model than this.
    model: TEST_MODEL as unknown as Model,
    tokenizer: fakeTokenizer,
    encoder: {
      encode: async ({ text, addSpecial, parseSpecial }) =>
        fakeTokenizer.encode(text, addSpecial, parseSpecial),
    },
    batcher: {
      generate(request) {
        signals.push(request.signal);
        return batcher.generate(request);
      },
    },
    group: { placement: TEST_PLACEMENT },
    limits: sizes,
    policy: "in-order",
    log: pino(sink),
    ...changes,
  });
  server.setServing(true);
  const port = server.address.kind === "tcp" ? server.address.port : 0;
  return {
    server,
    url: port === 0 ? "" : `http://127.0.0.1:${port}`,
    port,
    target: formatAddress(server.address),
    runner,
    batcher,
    signals,
    log,
    close: async () => {
      const stopped = batcher.close();
      runner.release();
      await Promise.all([stopped, server.close()]);
    },
  };
}
