/** Least squares whose coefficients are none of them negative. */

/**
 * @param rows the columns' values of each observation
 * @returns a coefficient a column; those that would be negative are 0
 */
export function nonNegativeLeastSquares(
  rows: readonly (readonly number[])[],
  values: readonly number[],
): number[] {
  const columns = rows[0]?.length ?? 0;
  let best = Array.from({ length: columns }, () => 0);
  let bestError = squaredError(rows, values, best);
  // Few columns: every subset of them is tried.
  for (let subset = 1; subset < 2 ** columns; subset++) {
    const used = Array.from({ length: columns }, (_, column) => column).filter(
      (column) => (subset >> column) & 1,
    );
    const solved = solve(rows, values, used);
    if (solved === null || solved.some((coefficient) => !(coefficient >= 0))) continue;
    const coefficients = Array.from({ length: columns }, () => 0);
    for (const [index, column] of used.entries()) coefficients[column] = solved[index] ?? 0;
    const error = squaredError(rows, values, coefficients);
    if (error < bestError) [best, bestError] = [coefficients, error];
  }
  return best;
}

function squaredError(
  rows: readonly (readonly number[])[],
  values: readonly number[],
  coefficients: readonly number[],
): number {
  return rows.reduce((total, row, index) => {
    const fitted = row.reduce((sum, value, column) => sum + value * (coefficients[column] ?? 0), 0);
    return total + (fitted - (values[index] ?? 0)) ** 2;
  }, 0);
}

/** The normal equations over some columns, by Gauss and Jordan; null where they have no one solution. */
function solve(
  rows: readonly (readonly number[])[],
  values: readonly number[],
  used: readonly number[],
): number[] | null {
  const scale = used.map((column) => Math.max(...rows.map((row) => Math.abs(row[column] ?? 0))) || 1);
  const at = (row: readonly number[], index: number) => (row[used[index] ?? 0] ?? 0) / (scale[index] ?? 1);
  const matrix = used.map((_, i) => [
    ...used.map((_, j) => rows.reduce((sum, row) => sum + at(row, i) * at(row, j), 0)),
    rows.reduce((sum, row, index) => sum + at(row, i) * (values[index] ?? 0), 0),
  ]);
  for (const [i, pivotRow] of matrix.entries()) {
    const pivot = pivotRow[i] ?? 0;
    if (Math.abs(pivot) < 1e-9 * rows.length) return null;
    for (const [j, row] of matrix.entries()) {
      if (j === i) continue;
      const factor = (row[i] ?? 0) / pivot;
      for (let k = i; k < row.length; k++) row[k] = (row[k] ?? 0) - factor * (pivotRow[k] ?? 0);
    }
  }
  return matrix.map((row, i) => (row.at(-1) ?? 0) / (row[i] ?? 1) / (scale[i] ?? 1));
}
