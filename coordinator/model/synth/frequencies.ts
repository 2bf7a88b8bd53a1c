/** How often each neuron of a layer fires: a power law with a given mean. */

/** No neuron fires more often: its bias would have to grow without bound. */
export const MOST_FREQUENT = 0.999;
const LEAST_FREQUENT = 1e-9;

/**
 * Probabilities proportional to rank^-skew, none above {@link MOST_FREQUENT}, whose mean is `mean`.
 *
 * @param skew 0 makes all neurons alike
 * @returns one probability a neuron, the largest first
 */
export function powerLaw(neurons: number, mean: number, skew: number): Float64Array {
  const byRank = Float64Array.from({ length: neurons }, (_, index) => (index + 1) ** -skew);
  const at = (factor: number) =>
    byRank.map((weight) => Math.max(LEAST_FREQUENT, Math.min(MOST_FREQUENT, factor * weight)));
  const meanOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / neurons;
  // The last neuron reaches the ceiling at the upper bound, and with it all others.
  let low = 0;
  let high = MOST_FREQUENT * neurons ** skew;
  // Each turn halves the interval: 100 of them exhaust a double's precision.
  for (let turn = 0; turn < 100; turn++) {
    const middle = (low + high) / 2;
    if (meanOf(at(middle)) < mean) low = middle;
    else high = middle;
  }
  return at((low + high) / 2);
}

/** The share of all firing that the `share` most frequent neurons do. @param sorted the largest first */
export function shareOfFiring(sorted: Float64Array, share: number): number {
  const sum = (values: Float64Array) => values.reduce((total, value) => total + value, 0);
  return sum(sorted.subarray(0, Math.round(share * sorted.length))) / sum(sorted);
}

/** Density of the standard normal distribution. */
export function normalDensity(x: number): number {
  return Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI);
}

/**
 * The value below which a standard normal variable lies with probability `p`, 0 < p < 1. Relative error below 1.2e-9.
 *
 * Acklam, "An algorithm for computing the inverse normal cumulative distribution function", 2003.
 */
export function normalQuantile(p: number): number {
  const TAIL = 0.02425;
  if (p > 1 - TAIL) return -normalQuantile(1 - p);
  if (p < TAIL) {
    const q = Math.sqrt(-2 * Math.log(p));
    return (
      polynomial(
        [
          -7.784894002430293e-3, -3.223964580411365e-1, -2.400758277161838, -2.549732539343734,
          4.374664141464968, 2.938163982698783,
        ],
        q,
      ) / polynomial([7.784695709041462e-3, 3.224671290700398e-1, 2.445134137142996, 3.754408661907416, 1], q)
    );
  }
  const q = p - 0.5;
  return (
    (q *
      polynomial(
        [
          -3.969683028665376e1, 2.209460984245205e2, -2.759285104469687e2, 1.38357751867269e2,
          -3.066479806614716e1, 2.506628277459239,
        ],
        q * q,
      )) /
    polynomial(
      [
        -5.447609879822406e1, 1.615858368580409e2, -1.556989798598866e2, 6.680131188771972e1,
        -1.328068155288572e1, 1,
      ],
      q * q,
    )
  );
}

/** @param coefficients the highest power's first */
function polynomial(coefficients: readonly number[], x: number): number {
  return coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
}
