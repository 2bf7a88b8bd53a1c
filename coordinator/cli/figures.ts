/** Figures as commands print them. */

/** `0.12345` becomes "12.35 %". */
export function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}

/** Least, median and most of some layers' shares. */
export function range(shares: readonly number[]): string {
  const sorted = Float64Array.from(shares).sort();
  const at = (place: number) => percent(sorted[Math.round(place * (sorted.length - 1))] ?? 0);
  return `least ${at(0)}, median ${at(0.5)}, most ${at(1)}`;
}

/** `5025` becomes "1:23:45". */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  const minutes = `${two((whole / 60) % 60)}:${two(whole % 60)}`;
  return whole < 3600 ? minutes : `${Math.floor(whole / 3600)}:${minutes}`;
}
