/** What `thermocline doctor` says of a card. */
import { expect, test } from "vitest";
import { describeCard } from "../../coordinator/cli/doctor.js";
import { CARD } from "../support/card.js";

test("it says how fast a card's memory is, where that is known", () => {
  expect(describeCard(CARD)).toBe("a card, compute capability 8.9, 23.0 GiB free of 24.0 GiB at 1008 GB/s");
  expect(describeCard({ ...CARD, memoryBytesPerS: 0 })).toMatch(/free of 24\.0 GiB$/);
  expect(describeCard({ ...CARD, memoryOperations: false })).toMatch(
    /, waits for other executors by kernels that spin$/,
  );
  expect(describeCard({ ...CARD, memoryOperations: false, kernelTimeLimit: true })).toMatch(
    /, waits for other executors by kernels that spin, which its driver ends after some seconds$/,
  );
  expect(describeCard({ ...CARD, kernelTimeLimit: true })).toBe(describeCard(CARD));
});
