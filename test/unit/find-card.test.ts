/** Asking for a card in a process of its own: what it answers, and what becomes of one that does not. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findCard } from "../../native/find-card.js";
import { CARD } from "../support/card.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

/** Looks with a probe that runs this. */
async function foundBy(code: string) {
  const probe = join(folder, "probe.mjs");
  writeFileSync(probe, code);
  return findCard("cuda", "/some/lib.so", probe);
}

test("a card is what the process writes", async () => {
  const found = await foundBy(
    `process.stdout.write(JSON.stringify({ card: { ...${JSON.stringify(CARD)}, library: process.argv[2] } }))`,
  );
  expect(found).toEqual({
    ...{ kind: "card", library: "/some/lib.so", card: { ...CARD, library: "/some/lib.so" } },
  });
});

test("so is what is missing", async () => {
  expect(await foundBy(`process.stdout.write('{"problem":"there is no driver"}')`)).toEqual({
    ...{ kind: "none", problem: "there is no driver" },
  });
});

test.each([
  ["process.kill(process.pid, 'SIGSEGV')", /ended with SIGSEGV/],
  ["console.error('first'); console.error('boom'); process.exit(3)", /ended with code 3: boom$/],
  ["process.stdout.write('nonsense')", /ended without an answer$/],
])("a process that ends otherwise ends alone: %s", async (code, problem) => {
  expect(await foundBy(code)).toEqual({ kind: "none", problem: expect.stringMatching(problem) });
});

test("without a library it says how to get one", async () => {
  expect(await findCard("cuda", null)).toMatchObject({
    problem: expect.stringMatching(/THERMOCLINE_CUDA=on/),
  });
  expect(await findCard("emulated", null)).toMatchObject({ problem: expect.stringMatching(/npm run setup/) });
});
