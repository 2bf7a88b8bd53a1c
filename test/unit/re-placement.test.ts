import { pino } from "pino";
import { expect, test, vi } from "vitest";
import type { ExchangeResult } from "../../coordinator/executors/exchange.js";
import { exchanged } from "../../coordinator/executors/exchange.js";
import type { Model } from "../../coordinator/model/model.js";
import { type ExchangeRound, fixedBecause, RePlacement } from "../../coordinator/placement/re-placement.js";
import type { LayerExchange, Schedule } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";

const EMBD = 64;
/** Three rows of 64 weights in Q8_0. */
const NEURON_BYTES = 3 * 2 * 34;

const model = {
  shape: { layers: 1, ff: 4, embd: EMBD, activation: "relu" },
  downTransposed: true,
  tensors: ["ffn_gate", "ffn_up", "ffn_down_t", "attn_q"].map((name) => ({
    name: `blk.0.${name}.weight`,
    type: "q8_0",
    offset: 0,
    rows: 4,
    cols: EMBD,
  })),
} as unknown as Model;

const RESULT: ExchangeResult = {
  bytes: 2 * NEURON_BYTES,
  staging: { startNs: 1, endNs: 2 },
  step: 7,
  applying: { startNs: 3, endNs: 4 },
};

function start(owners: number[], firings: number[], mostBytes = 1 << 20) {
  const logged: { level: number; msg: string; reason?: string }[] = [];
  const rounds: ExchangeRound[] = [];
  const executors = {
    placement: {
      schedule: {
        executors: ["gpu", "cpu"],
        layers: [{ attention: 0, neuronOwner: Uint8Array.from(owners) }],
        head: 0,
      } as Schedule,
    },
    failure: null as Error | null,
    exchanges: 0,
    async exchange(layers: readonly LayerExchange[]) {
      this.exchanges++;
      if (this.failure !== null) throw this.failure;
      this.placement = { schedule: exchanged(this.placement.schedule, layers) };
      return RESULT;
    },
  };
  const rePlacement = new RePlacement({
    model,
    executors,
    firings: () => Promise.resolve([firings]),
    onRound: (round) => rounds.push(round),
    log: pino({ level: "debug" }, { write: (line) => logged.push(JSON.parse(line)) }),
    intervalMs: 0,
    mostBytes,
  });
  return { rePlacement, executors, rounds, logged };
}

test("a round moves what is worth it, and tells of it", async () => {
  const { rePlacement, executors, rounds } = start([0, 0, 1, 1], [100, 0, 100, 200]);
  const expected = { ...RESULT, layers: 1, neurons: 2 };
  expect(await rePlacement.round()).toEqual(expected);
  expect(rounds).toEqual([expected]);
  expect([...(executors.placement.schedule.layers[0]?.neuronOwner ?? [])]).toEqual([0, 1, 1, 0]);
  expect(await rePlacement.round()).toBeNull();
  expect(executors.exchanges).toBe(1);
});

test("a round keeps to its bytes, by what a neuron's rows take", async () => {
  const few = start([0, 0, 1, 1], [0, 0, 100, 200], 4 * NEURON_BYTES - 1);
  expect(await few.rePlacement.round()).toMatchObject({ neurons: 2 });
  const enough = start([0, 0, 1, 1], [0, 0, 100, 200], 4 * NEURON_BYTES);
  expect(await enough.rePlacement.round()).toMatchObject({ neurons: 4 });
});

test("rounds go on by themselves, over the loss of executors, until closed", async () => {
  const { rePlacement, executors, rounds } = start([0, 1, 1, 1], [0, 100, 0, 0]);
  executors.failure = new ThermoclineError("UNAVAILABLE", "the CPU executor (pid 1) was killed");
  rePlacement.start();
  await vi.waitFor(() => expect(executors.exchanges).toBeGreaterThan(2));
  executors.failure = null;
  await vi.waitFor(() => expect(rounds).toHaveLength(1));
  rePlacement.close();
  rePlacement.close();
});

test("an exchange that is refused ends it, and the log says why", async () => {
  const { rePlacement, executors, logged } = start([0, 1, 1, 1], [0, 100, 0, 0]);
  executors.failure = new ThermoclineError("INVALID_ARGUMENT", "layers[0].first[0] moves already");
  rePlacement.start();
  await vi.waitFor(() => expect(logged).toHaveLength(1));
  expect(logged[0]).toMatchObject({
    level: 50,
    msg: "neurons stay where they are from now on: an exchange failed",
    err: { message: "layers[0].first[0] moves already" },
  });
  expect(executors.exchanges).toBe(1);
});

test("where every layer lies on one side the log says that nothing moves", () => {
  const { rePlacement, logged } = start([0, 0, 0, 0], [1, 2, 3, 4]);
  rePlacement.start();
  expect(logged).toMatchObject([
    {
      msg: "no neuron will move between executors while requests run",
      reason: "no layer has neurons both on the GPU executor and elsewhere",
    },
  ]);
});

test("which models' neurons stay where they are", () => {
  expect(fixedBecause(model)).toBeNull();
  expect(fixedBecause({ ...model, downTransposed: false })).toMatch(/share blocks/);
  expect(fixedBecause({ ...model, shape: { ...model.shape, activation: "silu" } })).toMatch(/SiLU/);
});
