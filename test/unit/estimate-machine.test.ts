/** What is taken for a machine before anybody measured it. */
import { expect, test } from "vitest";
import { estimateMachine } from "../../coordinator/placement/estimate-machine.js";
import type { PlacementExecutor } from "../../coordinator/placement/schedule.js";
import type { FoundCard } from "../../native/find-card.js";
import { CARD } from "../support/card.js";

const CPU: PlacementExecutor = { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: 1 };
const MODEL_BYTES = 1024 ** 2;

function on(device: string): PlacementExecutor[] {
  return [{ kind: "gpu", device, card: null, budgetBytes: 5, threads: 1 }, CPU];
}
const never = (): Promise<FoundCard> => Promise.reject(new Error("nobody was to look"));
const finds = (found: FoundCard) => () => Promise.resolve(found);
const card = (memoryBytesPerS: number) =>
  finds({ kind: "card", card: { ...CARD, memoryBytesPerS }, library: "/lib.so" });

test("a card's memory is taken for four fifths of what it could move", async () => {
  const machine = await estimateMachine(on("cuda"), MODEL_BYTES, card(1.008e12));
  expect(machine.gpu.bytesPerS).toBeCloseTo(0.8 * 1.008e12, 0);
  expect(machine.note).toMatch(/the card's is as its driver describes it/);
});

test.each([
  ["a card that does not tell", "cuda", card(0)],
  ["a card that is gone", "cuda", finds({ kind: "none", problem: "no card does" })],
  ["no card", "host", never],
  ["an emulated one", "emulated", never],
])("%s counts as a multiple of the CPU's memory", async (_, device, find) => {
  const machine = await estimateMachine(on(device), MODEL_BYTES, find);
  expect(machine.gpu.bytesPerS).toBe(12 * machine.cpu.bytesPerS);
  expect(machine.note).not.toMatch(/card/);
});
