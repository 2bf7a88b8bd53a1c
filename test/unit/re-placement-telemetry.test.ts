/** What an OTLP receiver learns of neurons that changed places. */
import { pino } from "pino";
import { afterEach, beforeEach, expect, test } from "vitest";
import { monotonicNs } from "../../coordinator/telemetry/clock.js";
import { createTelemetry } from "../../coordinator/telemetry/telemetry.js";
import { OtlpReceiver } from "../support/otlp-receiver.js";

let receiver: OtlpReceiver;
beforeEach(async () => {
  receiver = await OtlpReceiver.start();
});
afterEach(() => receiver.close());

test("each round is a trace of its own, and adds to the metrics", async () => {
  const telemetry = await createTelemetry({
    otlpEndpoint: receiver.endpoint,
    traceRatio: 1,
    model: "tiny",
    executors: () => ["gpu", "cpu"],
    log: pino({ level: "silent" }),
  });
  const startNs = monotonicNs();
  const ms = 1_000_000;
  const round = {
    layers: 3,
    neurons: 40,
    bytes: 4000,
    step: 12,
    staging: { startNs, endNs: startNs + 8 * ms },
    applying: { startNs: startNs + 20 * ms, endNs: startNs + 21 * ms },
  };
  telemetry.rePlaced(round);
  telemetry.rePlaced({ ...round, neurons: 2, bytes: 200 });
  await telemetry.shutdown();

  const roots = receiver.spans.filter(({ name }) => name === "re-placement");
  expect(new Set(roots.map(({ traceId }) => traceId)).size).toBe(2);
  const [root] = roots;
  if (root === undefined) throw new Error("there is no span");
  expect(root).toMatchObject({
    service: "thermocline-coordinator",
    attributes: {
      "thermocline.re_placement.layers": 3,
      "thermocline.re_placement.neurons": 40,
      "thermocline.re_placement.bytes": 4000,
      "thermocline.step": 12,
    },
  });
  const parts = receiver.childrenOf(root).map(({ name, startNs: from, endNs: to }) => ({
    name,
    from: Number(from - root.startNs) / ms,
    to: Number(to - root.startNs) / ms,
  }));
  expect(parts).toEqual([
    { name: "stage", from: 0, to: 8 },
    { name: "apply", from: 20, to: 21 },
  ]);
  const total = (name: string) => receiver.metric(name)?.points.map(({ value }) => value);
  expect(total("thermocline.re_placement.neurons")).toEqual([42]);
  expect(total("thermocline.re_placement.bytes")).toEqual([4200]);
  const durations = receiver.metric("thermocline.re_placement.duration")?.points ?? [];
  expect(
    durations.map(({ attributes, count, sum }) => [attributes["thermocline.re_placement.part"], count, sum]),
  ).toEqual([
    ["stage", 2, 0.016],
    ["apply", 2, 0.002],
  ]);
});
