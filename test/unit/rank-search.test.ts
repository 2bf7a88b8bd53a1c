/** The choice of the predictor that reads the fewest bytes. */
import { describe, expect, test } from "vitest";
import { type Candidate, type Measured, searchRanks } from "../../coordinator/predictors/rank-search.js";

const GATE_BYTES = 1000;

/** A layer in which the gates that a predictor lets be read fall with its rank as `read` says. */
async function search(
  read: (candidate: Candidate) => number,
  meets: (candidate: Candidate) => boolean = () => true,
) {
  const looked: string[] = [];
  const found = await searchRanks({
    step: 32,
    mostRank: 256,
    embd: 64,
    predictorBytes: (rank) => rank,
    gateBytes: GATE_BYTES,
    measure: async (candidate): Promise<Measured> => {
      looked.push(`${candidate.kind} ${candidate.rank}`);
      const pairs = { rows: 1, fired: 100, predicted: 100, found: meets(candidate) ? 95 : 90 };
      return {
        ...candidate,
        fitted: { fc1: new Uint8Array(), fc2: new Uint8Array(), calibration: pairs, test: pairs, loss: 0 },
        meets: meets(candidate),
        bytes: candidate.rank + read(candidate),
      };
    },
  });
  return { looked, best: found[0], found };
}

describe("searchRanks", () => {
  test("takes the cheapest of all kinds and ranks that it measures, each once", async () => {
    const { looked, best, found } = await search(
      ({ kind, rank }) => (kind === "trained" ? 8000 : 9000) / rank,
    );
    expect(best).toMatchObject({ kind: "trained", rank: 96 });
    expect(new Set(looked).size).toBe(looked.length);
    expect(found.map(({ bytes }) => bytes)).toEqual(found.map(({ bytes }) => bytes).sort((a, b) => a - b));
  });

  test("keeps an untrained one where training gains nothing", async () => {
    const { best } = await search(({ kind, rank }) => (kind === "shifted" ? 3000 : 9000) / rank);
    expect(best).toMatchObject({ kind: "shifted", rank: 64 });
  });

  test("shrinks to the least rank, and grows to the most", async () => {
    expect((await search(() => 10)).best).toMatchObject({ rank: 32 });
    const grown = await search(({ kind, rank }) =>
      kind === "trained" ? (rank >= 256 ? 0 : 900 - 2 * rank) : 700,
    );
    expect(grown.best).toMatchObject({ kind: "trained", rank: 256 });
  });

  test("prefers any that meets the recall to all that do not", async () => {
    const { best, found } = await search(
      ({ rank }) => rank,
      ({ kind, rank }) => kind === "trained" && rank >= 64,
    );
    expect(best).toMatchObject({ kind: "trained", rank: 64, meets: true });
    expect(found.at(-1)).toMatchObject({ meets: false });
  });

  test("measures no untrained one with more directions than the input has", async () => {
    const { looked } = await search(({ rank }) => 9000 / rank);
    expect(looked).not.toContain("shifted 128");
    expect(looked).not.toContain("paired 256");
    expect(looked).toContain("paired 128");
  });

  test("finds none where no predictor is smaller than the gates", async () => {
    const found = await searchRanks({
      step: 32,
      mostRank: 256,
      embd: 64,
      predictorBytes: () => GATE_BYTES,
      gateBytes: GATE_BYTES,
      measure: () => Promise.reject(new Error("nothing is to be measured")),
    });
    expect(found).toEqual([]);
  });
});
