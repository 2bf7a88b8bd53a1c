/** Checks of command-line option values; every complaint is one sentence with the option, the value and the limit. */
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";

/** A whole number from `least` to `most`, in decimal digits. */
export function whole(option: string, least: number, most: number) {
  return z.string().transform((text, context) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= least && value <= most) return value;
    context.addIssue(`${option} is "${text}"; give a whole number from ${least} to ${most}`);
    return z.NEVER;
  });
}

/** A whole number of 64 bits. */
export function whole64(option: string) {
  return z.string().transform((text, context) => {
    const value = /^\d{1,20}$/.test(text) ? BigInt(text) : -1n;
    if (value >= 0n && value < 2n ** 64n) return value;
    context.addIssue(`${option} is "${text}"; give a whole number from 0 to 2^64 - 1`);
    return z.NEVER;
  });
}

/** A decimal number from `least` to `most`; the lower bound itself only if `includingLeast`. */
export function decimal(option: string, least: number, most: number, includingLeast = true) {
  return z.string().transform((text, context) => {
    const value = /^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    if ((includingLeast ? value >= least : value > least) && value <= most) return value;
    const range = includingLeast ? `from ${least} to ${most}` : `above ${least} and at most ${most}`;
    context.addIssue(`${option} is "${text}"; give a number ${range}`);
    return z.NEVER;
  });
}

/** What commander collected, checked. @throws ThermoclineError INVALID_ARGUMENT */
export function parseOptions<S extends z.ZodType>(schema: S, raw: unknown): z.infer<S> {
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const complaints = parsed.error.issues.map((issue) => issue.message);
  throw new ThermoclineError("INVALID_ARGUMENT", complaints.join("; "));
}
