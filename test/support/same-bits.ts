/** Rows of logits, compared as bits: what no tolerance may blur. */

type Rows = readonly Float32Array[];

/** Index of the first row that does not hold the same floats bit by bit, or that only one side has; null if none. */
export function firstDifference(rows: Rows, expected: Rows): number | null {
  for (let i = 0; i < Math.max(rows.length, expected.length); i++) {
    const [row, other] = [rows[i], expected[i]];
    if (row === undefined || other === undefined || !bytes(row).equals(bytes(other))) return i;
  }
  return null;
}

const bytes = (row: Float32Array) => Buffer.from(row.buffer, row.byteOffset, row.byteLength);
