/** Student's t distribution (Student 1908). */

/**
 * The value that Student's t with `freedom` degrees of freedom exceeds with probability `tail`.
 *
 * With t = sqrt(freedom) * tan(angle) the density becomes proportional to cos(angle)^(freedom - 1) on (-pi/2, pi/2),
 * whose integral Simpson's rule gives; bisection finds the angle.
 */
export function studentT(tail: number, freedom: number): number {
  const density = (angle: number) => Math.cos(angle) ** (freedom - 1);
  const wanted = tail * integrate(density, -Math.PI / 2, Math.PI / 2);
  let low = 0;
  let high = Math.PI / 2;
  for (let halvings = 0; halvings < 60; halvings++) {
    const middle = (low + high) / 2;
    if (integrate(density, middle, Math.PI / 2) > wanted) low = middle;
    else high = middle;
  }
  return Math.sqrt(freedom) * Math.tan(low);
}

function integrate(f: (x: number) => number, from: number, to: number): number {
  const intervals = 1000;
  const step = (to - from) / intervals;
  let sum = f(from) + f(to);
  for (let i = 1; i < intervals; i++) sum += f(from + i * step) * (i % 2 === 1 ? 4 : 2);
  return (sum * step) / 3;
}
