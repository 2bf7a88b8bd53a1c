import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { StopStrings } from "../../coordinator/schedule/stop-strings.js";

/** Feeds the pieces until a stop string is met; `shown` joins what was let go of on the way. */
function run(pieces: readonly string[], stops: readonly string[]) {
  const matcher = new StopStrings(stops);
  let shown = "";
  for (const piece of pieces) {
    shown += matcher.push(piece);
    if (matcher.met) return { shown, met: true };
  }
  return { shown: shown + matcher.end(), met: false };
}

/** The definition: the first prefix that ends with a stop string, less the longest such string. */
function reference(text: string, stops: readonly string[]) {
  for (let end = 1; end <= text.length; end++) {
    const seen = text.slice(0, end);
    const lengths = stops.filter((stop) => seen.endsWith(stop)).map((stop) => stop.length);
    if (lengths.length > 0) return { shown: seen.slice(0, end - Math.max(...lengths)), met: true };
  }
  return { shown: text, met: false };
}

const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 6 });
const stopLists = fc.array(
  letters.filter((text) => text !== ""),
  { maxLength: 4 },
);

property.prop([fc.array(letters, { maxLength: 12 }), stopLists], { numRuns: 2000, seed: 1 })(
  "the result does not depend on where the text was cut",
  (pieces, stops) => {
    expect(run(pieces, stops)).toEqual(reference(pieces.join(""), stops));
  },
);

property.prop([fc.array(letters, { maxLength: 12 }), stopLists], { numRuns: 1000, seed: 1 })(
  "no more is held back than the longest beginning of a stop string",
  (pieces, stops) => {
    const matcher = new StopStrings(stops);
    let seen = "";
    let shown = "";
    for (const piece of pieces) {
      seen += piece;
      shown += matcher.push(piece);
      if (matcher.met) return;
      let hold = seen.length;
      while (hold > 0 && !stops.some((stop) => stop.startsWith(seen.slice(seen.length - hold)))) hold--;
      expect(shown).toBe(seen.slice(0, seen.length - hold));
    }
  },
);

test("without stop strings everything passes at once", () => {
  const matcher = new StopStrings([]);
  expect(matcher.push("as it is")).toBe("as it is");
  expect(matcher.end()).toBe("");
});

test("an empty push keeps what is held back", () => {
  const matcher = new StopStrings(["END"]);
  expect(matcher.push("the E")).toBe("the ");
  expect(matcher.push("")).toBe("");
  expect(matcher.push("N")).toBe("");
  expect(matcher.push("D of")).toBe("");
  expect(matcher.met).toBe(true);
  expect(matcher.end()).toBe("");
});

test("a stop string of characters outside the basic plane is found, and its neighbours stay whole", () => {
  expect(run(["sun 🌞", " moon 🌚", "!"], ["🌚"])).toEqual({ shown: "sun 🌞 moon ", met: true });
});
