import { expect, test } from "vitest";
import { backoffMs, pause } from "../../coordinator/executors/backoff.js";
import { type GroupState, GroupStatus } from "../../coordinator/executors/group-state.js";
import { allOrAbort } from "../../coordinator/executors/load.js";
import { ThermoclineError } from "../../proto/errors.js";

test("ready resolves with the state, now or later, and again after a recovery", async () => {
  const seen: GroupState["kind"][] = [];
  const status = new GroupStatus(({ kind }) => seen.push(kind));
  const first = status.ready();
  status.become({ kind: "loading", bytesDone: 1, bytesTotal: 2 });
  status.become({ kind: "ready" });
  await first;
  await status.ready();
  status.become({ kind: "recovering", reason: "the GPU executor (pid 7) was killed by SIGKILL" });
  const second = status.ready();
  status.become({ kind: "ready" });
  await second;
  expect(seen).toEqual(["loading", "ready", "recovering", "ready"]);
});

test("ready rejects once it never will be, and nothing follows a final state", async () => {
  const status = new GroupStatus(() => undefined);
  const waiting = status.ready();
  const error = new ThermoclineError("UNAVAILABLE", "it is broken");
  status.become({ kind: "failed", error });
  await expect(waiting).rejects.toBe(error);
  await expect(status.ready()).rejects.toBe(error);
  status.become({ kind: "ready" });
  expect(status.state.kind).toBe("failed");
});

test("each state says what to tell a caller", () => {
  const status = new GroupStatus(() => undefined);
  expect(status.whyNot()).toMatchObject({ code: "UNAVAILABLE", message: /still loading/ });
  status.become({ kind: "recovering", reason: "the GPU executor (pid 7) was killed by SIGKILL" });
  expect(status.whyNot()).toMatchObject({
    code: "UNAVAILABLE",
    message: /^the GPU executor \(pid 7\) was killed by SIGKILL; .*try again/,
  });
  status.become({ kind: "closed" });
  expect(status.whyNot()).toMatchObject({ code: "UNAVAILABLE", message: "the server is shutting down" });
});

test("the back-off doubles from 100 ms to 5 s", () => {
  expect([0, 1, 2, 3, 6, 7, 50].map(backoffMs)).toEqual([0, 100, 200, 400, 3200, 5000, 5000]);
});

test("a pause ends with its signal's reason", async () => {
  const stop = new AbortController();
  const waiting = pause(60_000, stop.signal);
  stop.abort(new Error("closing"));
  await expect(waiting).rejects.toThrow("closing");
  await expect(pause(0, stop.signal)).rejects.toThrow("closing");
});

test("the first failure ends the others' work, and is the one that is thrown", async () => {
  const control = new AbortController();
  const ended: number[] = [];
  const work = (item: number) =>
    item === 1
      ? Promise.reject(new Error("the second failed"))
      : new Promise<number>((_, reject) => {
          control.signal.addEventListener("abort", () => {
            ended.push(item);
            reject(new Error("cancelled"));
          });
        });
  await expect(allOrAbort([0, 1, 2], control, work)).rejects.toThrow("the second failed");
  expect(ended).toEqual([0, 2]);
  expect(await allOrAbort([3, 4], new AbortController(), async (item, index) => item * 10 + index)).toEqual([
    30, 41,
  ]);
});
