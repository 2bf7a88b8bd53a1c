import { describe, expect, test, vi } from "vitest";
import { NativeError } from "../../native/index.js";
import { fakeExecutor, fakeOrder } from "../support/fake-executor.js";

const quiet = () => undefined;
const never = new AbortController().signal;

test("a Load joins the arena, loads, and serves", async () => {
  const { executor, journal, states } = fakeExecutor();
  const loaded = await executor.load(fakeOrder("a"), quiet, never);
  expect(loaded.memory.weightBytes).toBe(100);
  expect(journal).toEqual(["attach arena", "load engine 0", "serve engine 0 in arena"]);
  expect(states).toEqual(["loading", "serving"]);
  expect(executor.steps).toBe(7);
});

test("the same digest keeps the weights and only changes the arena", async () => {
  const { executor, journal } = fakeExecutor();
  await executor.load(fakeOrder("a", "one"), quiet, never);
  journal.length = 0;
  await executor.load(fakeOrder("a", "two"), quiet, never);
  expect(journal).toEqual(["stop engine 0", "close one", "attach two", "serve engine 0 in two"]);
});

test("another digest frees the old weights before it loads the new", async () => {
  const { executor, journal } = fakeExecutor();
  await executor.load(fakeOrder("a", "one"), quiet, never);
  journal.length = 0;
  await executor.load(fakeOrder("b", "two"), quiet, never);
  expect(journal).toEqual([
    "stop engine 0",
    "close one",
    "attach two",
    "free engine 0",
    "load engine 1",
    "serve engine 1 in two",
  ]);
});

test("a failed step leaves the arena, says why, and keeps the weights for the next Load", async () => {
  const { executor, device, journal } = fakeExecutor();
  await executor.load(fakeOrder("a", "one"), quiet, never);
  device.engine?.fail("internal", "a step divided by zero");
  await vi.waitFor(() => expect(executor.state.kind).toBe("failed"));
  expect(executor.state).toMatchObject({ reason: "a step divided by zero" });
  expect(journal.filter((event) => event === "close one")).toHaveLength(1);
  journal.length = 0;
  await executor.load(fakeOrder("a", "two"), quiet, never);
  expect(journal).toEqual(["attach two", "serve engine 0 in two"]);
});

test.each([
  ["its own failure", "internal", 0, true],
  ["another executor's failure", "internal", 1, false],
  ["an abort", "aborted", 0, false],
] as const)("a device that ends with a step is lost by %s: %s", async (_, code, executor, lost) => {
  for (const endsWithStep of [true, false]) {
    const fake = fakeExecutor();
    fake.device.endsWithStep = endsWithStep;
    await fake.executor.load(fakeOrder("a", "one"), quiet, never);
    fake.device.engine?.fail(code, "something happened", executor);
    await vi.waitFor(() =>
      expect(fake.executor.state).toMatchObject({ kind: "failed", deviceLost: lost && endsWithStep }),
    );
  }
});

test("a missing arena fails the Load before the weights are touched", async () => {
  const { executor, journal } = fakeExecutor();
  await executor.load(fakeOrder("a", "one"), quiet, never);
  journal.length = 0;
  await expect(executor.load(fakeOrder("b", "missing"), quiet, never)).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: "there is no arena missing",
  });
  expect(journal).toEqual(["stop engine 0", "close one"]);
  expect(executor.state).toMatchObject({ kind: "failed", held: { digest: "a" } });
});

test("a failed Load closes its arena and holds nothing", async () => {
  const { executor, device, journal } = fakeExecutor();
  device.error = new NativeError("out-of-memory", "the plan needs 2 GiB of 1 GiB", null);
  await expect(executor.load(fakeOrder("a"), quiet, never)).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    message: "the plan needs 2 GiB of 1 GiB",
  });
  expect(journal).toEqual(["attach arena", "load engine 0", "close arena"]);
  expect(executor.state).toMatchObject({ kind: "failed", held: null });
});

test("a cancelled Load rejects with the canceller's reason", async () => {
  const { executor, device, journal } = fakeExecutor();
  device.hold = true;
  const cancel = new AbortController();
  const load = executor.load(fakeOrder("a"), quiet, cancel.signal);
  await vi.waitFor(() => expect(journal).toContain("load engine 0"));
  cancel.abort(new Error("enough"));
  await expect(load).rejects.toThrow("enough");
  expect(journal.at(-1)).toBe("close arena");
  expect(executor.state).toMatchObject({ kind: "failed", held: null });
});

test("a newer Load takes an older one's place", async () => {
  const { executor, device, journal } = fakeExecutor();
  device.hold = true;
  const first = executor.load(fakeOrder("a", "one"), quiet, never);
  await vi.waitFor(() => expect(journal).toContain("load engine 0"));
  device.hold = false;
  const second = executor.load(fakeOrder("b", "two"), quiet, never);
  await expect(first).rejects.toMatchObject({ code: "ABORTED", message: /newer Load/ });
  await second;
  expect(executor.state).toMatchObject({ kind: "serving", held: { digest: "b" } });
});

test("a Load that waits for its turn can be replaced before it begins", async () => {
  const { executor, device, journal } = fakeExecutor();
  device.hold = true;
  const loads = ["a", "b", "c"].map((digest) => executor.load(fakeOrder(digest, digest), quiet, never));
  device.hold = false;
  const outcomes = await Promise.allSettled(loads);
  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "fulfilled"]);
  expect(journal).not.toContain("attach b");
});

test("Drain frees everything, also in the middle of a Load, and can be repeated", async () => {
  const { executor, device, journal } = fakeExecutor();
  await executor.load(fakeOrder("a"), quiet, never);
  await executor.drain();
  expect(executor.state).toEqual({ kind: "idle" });
  expect(journal.slice(-3)).toEqual(["stop engine 0", "close arena", "free engine 0"]);
  await executor.drain();
  device.hold = true;
  const load = executor.load(fakeOrder("a"), quiet, never);
  await vi.waitFor(() => expect(journal).toContain("load engine 1"));
  const drained = executor.drain();
  await expect(load).rejects.toMatchObject({ code: "ABORTED" });
  await drained;
  expect(executor.state).toEqual({ kind: "idle" });
});

test("a step that does not end is given up", async () => {
  const { executor, device, journal } = fakeExecutor();
  await executor.load(fakeOrder("a"), quiet, never);
  if (device.engine !== null) device.engine.busy = true;
  await executor.drain(1);
  expect(journal.slice(-4)).toEqual(["stop engine 0", "abort arena", "close arena", "free engine 0"]);
  expect(executor.state).toEqual({ kind: "idle" });
});

describe("an exchange", () => {
  const order = { exchange: { number: 3, layers: [] }, digest: "b" };

  test("changes the digest once a step has applied it, and not before", async () => {
    const { executor, device, journal } = fakeExecutor();
    await executor.load(fakeOrder("a", "one"), quiet, never);
    expect(await executor.stage(order, never)).toBe(64);
    journal.length = 0;
    await executor.load(fakeOrder("a", "two"), quiet, never);
    expect(journal).toContain("serve engine 0 in two");
    if (device.engine !== null) device.engine.exchanged = true;
    await executor.load(fakeOrder("b", "three"), quiet, never);
    expect(journal).not.toContain("free engine 0");
    expect(journal.at(-1)).toBe("serve engine 0 in three");
    await executor.load(fakeOrder("a", "four"), quiet, never);
    expect(journal).toContain("free engine 0");
  });

  test("one after the other: the digest is that of the last one applied", async () => {
    const { executor, device } = fakeExecutor();
    await executor.load(fakeOrder("a"), quiet, never);
    await executor.stage(order, never);
    if (device.engine !== null) device.engine.exchanged = true;
    await executor.stage({ exchange: { number: 4, layers: [] }, digest: "c" }, never);
    expect(executor.state).toMatchObject({ held: { digest: "b" } });
    if (device.engine !== null) device.engine.exchanged = true;
    expect(executor.state).toMatchObject({ held: { digest: "c" } });
  });

  test("is refused while no steps are served", async () => {
    const { executor } = fakeExecutor();
    await expect(executor.stage(order, never)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(/^this executor is idle and serves no steps/),
    });
  });

  test("that is staged while a Load comes fails, and leaves the digest", async () => {
    const { executor, device } = fakeExecutor();
    await executor.load(fakeOrder("a", "one"), quiet, never);
    if (device.engine !== null) device.engine.holdStage = true;
    const staged = executor.stage(order, never);
    const loaded = executor.load(fakeOrder("a", "two"), quiet, never);
    await expect(staged).rejects.toMatchObject({ code: "ABORTED", message: /newer Load/ });
    await loaded;
    expect(executor.state).toMatchObject({ kind: "serving", held: { digest: "a" } });
  });
});
