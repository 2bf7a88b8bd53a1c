import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { evenShares } from "../../coordinator/schedule/step-plan.js";

const wants = fc.array(fc.nat({ max: 60 }), { maxLength: 8 });

property.prop([wants, fc.nat({ max: 200 }), fc.nat()], { seed: 1 })(
  "all of the room is given unless everybody has enough, and nobody gets more than wanted",
  (wanted, room, turn) => {
    const given = evenShares(wanted, room, turn);
    const total = given.reduce((sum, rows) => sum + rows, 0);
    expect(total).toBe(
      Math.min(
        room,
        wanted.reduce((sum, rows) => sum + rows, 0),
      ),
    );
    given.forEach((rows, place) => {
      expect(rows).toBeLessThanOrEqual(wanted[place] ?? 0);
    });
  },
);

property.prop([wants, fc.nat({ max: 200 }), fc.nat()], { seed: 1 })(
  "whoever gets less than wanted gets no less than any other, but for one odd row",
  (wanted, room, turn) => {
    const given = evenShares(wanted, room, turn);
    const most = Math.max(0, ...given);
    given.forEach((rows, place) => {
      if (rows < (wanted[place] ?? 0)) expect(rows).toBeGreaterThanOrEqual(most - 1);
    });
  },
);

test("the odd row goes round", () => {
  const given = [0, 1, 2].map((turn) => evenShares([9, 9, 9], 4, turn));
  expect(given).toEqual([
    [2, 1, 1],
    [1, 2, 1],
    [1, 1, 2],
  ]);
});

test("when there is room for one row alone, everybody has its turn", () => {
  const given = [0, 1, 2].map((turn) => evenShares([9, 9, 9], 1, turn));
  expect(given).toEqual([
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ]);
});
