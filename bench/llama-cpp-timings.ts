/** llama.cpp's own account of its time, as it logs it: evaluation alone, without sampling or whatever called it. */

/** Tokens a second; null where llama.cpp evaluated none that way. */
export interface OwnRates {
  prefillTokensPerS: number | null;
  decodeTokensPerS: number | null;
}

const PREFILL = /prompt eval time =\s*([\d.]+) ms \/\s*(\d+) tokens/;
const DECODE = /(?<!prompt )eval time =\s*([\d.]+) ms \/\s*(\d+) runs/;

/** @param log what `llama_perf_context_print` wrote */
export function ownRates(log: string): OwnRates {
  return { prefillTokensPerS: rateIn(log, PREFILL), decodeTokensPerS: rateIn(log, DECODE) };
}

function rateIn(log: string, line: RegExp): number | null {
  const [, ms, tokens] = line.exec(log) ?? [];
  const rate = (1000 * Number(tokens)) / Number(ms);
  // Where nothing was evaluated it writes one token in no time.
  return Number.isFinite(rate) ? rate : null;
}
