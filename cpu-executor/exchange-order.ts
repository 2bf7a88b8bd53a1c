/** What a StageExchangeRequest asks for, in the engine's terms. */
import type { Exchange } from "../native/index.js";
import type { StageExchangeRequest } from "../proto/gen/thermocline/v1/executor_pb.js";
import { toDigest, toNumber } from "./plan.js";

/** A checked StageExchange. */
export interface ExchangeOrder {
  exchange: Exchange;
  /** `plan_digest` in hexadecimal. */
  digest: string;
}

/**
 * Whether the exchange fits the schedule is the engine's to say.
 * @throws ThermoclineError INVALID_ARGUMENT, naming the field at fault
 */
export function exchangeOrder({ number, layers, planDigest }: StageExchangeRequest): ExchangeOrder {
  return {
    exchange: {
      number: toNumber(number, "number"),
      layers: layers.map(({ layer, first, second }) => ({
        layer,
        first: Uint32Array.from(first),
        second: Uint32Array.from(second),
      })),
    },
    digest: toDigest(planDigest),
  };
}
