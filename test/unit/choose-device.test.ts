/** Which device computes hot neurons, and how much of a card's memory it may take. */
import { describe, expect, test } from "vitest";
import {
  cardBudgetBytes,
  chooseDevice,
  type GpuChoice,
  usableBytes,
} from "../../coordinator/executors/choose-device.js";
import type { FoundCard } from "../../native/find-card.js";
import { CARD as A_CARD } from "../support/card.js";

const GIB = 1024 ** 3;
const NO_DRIVER = { controlDevice: false, library: false };
const DRIVER = { controlDevice: true, library: true };
const CARD = { ...A_CARD, memoryBytes: 8 * GIB, freeBytes: 7 * GIB };
const found = async (): Promise<FoundCard> => ({ kind: "card", card: CARD, library: "/lib.so" });
const missing = async (): Promise<FoundCard> => ({ kind: "none", problem: "no card does" });
const never = (): Promise<FoundCard> => Promise.reject(new Error("nobody was to look"));

describe("the device", () => {
  test.each(["host", "off"] as const)("%s is taken as it is, without a word", async (choice) => {
    expect(await chooseDevice(choice, { driver: DRIVER, find: never })).toEqual({
      ...{ device: choice, card: null, note: null },
    });
  });

  test("auto takes a card, and otherwise says in one line what runs instead", async () => {
    const auto = (driver: typeof DRIVER, find: typeof found) => chooseDevice("auto", { driver, find });
    expect(await auto(DRIVER, found)).toEqual({ device: "cuda", card: CARD, note: null });
    expect(await auto(NO_DRIVER, never)).toMatchObject({
      device: "off",
      note: expect.stringMatching(/^no GPU was found: everything runs on the CPU \(--gpu host .*\)$/),
    });
    expect(await auto(DRIVER, missing)).toMatchObject({
      device: "off",
      note: expect.stringMatching(/^no card does: everything runs on the CPU/),
    });
  });

  test("the emulated device is no card whose memory counts", async () => {
    expect(await chooseDevice("emulated", { driver: NO_DRIVER, find: found })).toEqual({
      ...{ device: "emulated", card: null, note: null },
    });
  });

  test.each<[GpuChoice, RegExp]>([
    ["cuda", /^--gpu cuda: no card does \(no NVIDIA driver was found.*\); use --gpu off, or --gpu host/],
    ["emulated", /^--gpu emulated: no card does; use --gpu off, or --gpu host/],
  ])("%s is an error that says what is missing and what to do", async (choice, message) => {
    await expect(chooseDevice(choice, { driver: NO_DRIVER, find: missing })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(message),
    });
  });
});

describe("a card's budget", () => {
  test("is what is free but for the reserve, unless less was asked for", () => {
    expect(usableBytes(CARD)).toBe(7 * GIB - 512 * 1024 ** 2 - Math.ceil(0.02 * 8 * GIB));
    expect(cardBudgetBytes(CARD, null)).toBe(usableBytes(CARD));
    expect(cardBudgetBytes(CARD, usableBytes(CARD))).toBe(usableBytes(CARD));
    expect(cardBudgetBytes(CARD, 1)).toBe(1);
  });

  test("beyond what is free is refused before anything is loaded", () => {
    expect(() => cardBudgetBytes(CARD, 7 * GIB)).toThrow(
      /^--vram-budget is 7.00 GiB: a card has 7.00 GiB free of 8.00 GiB, of which .* are kept .*; give at most 6\.\d+ GiB$/,
    );
    expect(() => cardBudgetBytes({ ...CARD, freeBytes: GIB / 4 }, null)).toThrow(/end what uses the card/);
  });
});
