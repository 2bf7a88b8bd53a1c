import { expect, test } from "vitest";
import { addon, callRaw } from "./raw-addon.js";
import { SMALL } from "./small-arena.js";

/** Exports that take a handle first, and the name they give it. */
const TAKES_HANDLE = new Map<string, string>([
  ...Object.keys(addon)
    .filter((name) => /^arena(?!Create|Attach)/.test(name))
    .map((name): [string, string] => [name, "arena"]),
  ...Object.keys(addon)
    .filter((name) => /^engine(?!Load)/.test(name))
    .map((name): [string, string] => [name, "engine"]),
  ["trainingFit", "layer"],
  ["trainingClose", "layer"],
  ["cancel", "cancel"],
]);

test("the pattern above finds the exports", () => {
  expect(TAKES_HANDLE.size).toBe(13 + 7 + 2 + 1);
});

test.each([...TAKES_HANDLE])("%s refuses what is no handle of its kind", (name, kind) => {
  const other = kind === "cancel" ? callRaw("arenaCreate", SMALL) : callRaw("cancelToken");
  for (const value of [other, undefined, null, 7, "arena", {}, () => undefined]) {
    expect(() => callRaw(name, value)).toThrow(
      expect.objectContaining({ code: "invalid-argument", argument: kind }),
    );
  }
  if (kind === "cancel") callRaw("arenaClose", other);
});

test("arguments of another type name themselves", () => {
  const arena = callRaw("arenaCreate", SMALL);
  const refusal = (argument: string) => expect.objectContaining({ code: "invalid-argument", argument });
  expect(() => callRaw("arenaCreate", null)).toThrow(refusal("options"));
  expect(() => callRaw("arenaCreate", {})).toThrow(refusal("options.executors"));
  expect(() => callRaw("arenaAttach", 5, 1n)).toThrow(refusal("name"));
  expect(() => callRaw("arenaAttach", "thermocline-1-0", 1)).toThrow(refusal("epoch"));
  expect(() => callRaw("arenaSubmit", arena, [1, 2, 3, 4])).toThrow(refusal("rows"));
  expect(() => callRaw("arenaSubmit", arena, new Int32Array(3))).toThrow(refusal("rows"));
  expect(() => callRaw("arenaLogits", arena, -1)).toThrow(refusal("index"));
  expect(() => callRaw("arenaAbort", arena, undefined)).toThrow(refusal("reason"));
  callRaw("arenaClose", arena);
});
