/** How `thermocline generate` shows what the server sends. */
import { toJsonString } from "@bufbuild/protobuf";
import {
  FinishReason,
  type GenerateResponse,
  GenerateResponseSchema,
  type GenerateSummary,
} from "../../proto/gen/thermocline/v1/inference_pb.js";
import { formatSeconds } from "../../proto/units.js";
import { layerTable } from "./layer-table.js";

export interface Printer {
  print(response: GenerateResponse): void;
  /** Called once, also when the stream broke off. */
  end(): void;
}

/** The text on stdout; what there is to say about it on stderr. */
export function textPrinter(prompt: string, withLayers: boolean): Printer {
  let summary: GenerateSummary | null = null;
  let started = false;
  return {
    print: ({ event }) => {
      if (!started) process.stdout.write(prompt);
      started = true;
      if (event.case === "summary") summary = event.value;
      if (event.case !== undefined) process.stdout.write(event.value.text);
    },
    end: () => {
      if (started) process.stdout.write("\n");
      if (summary === null) return;
      const table = withLayers ? `\n${layerTable(summary.layers)}\n` : "";
      process.stderr.write(`${table}\n${summaryLine(summary)}\n`);
    },
  };
}

/** Each message on a line, in protobuf's JSON form. */
export function jsonPrinter(): Printer {
  return {
    print: (response) => process.stdout.write(`${toJsonString(GenerateResponseSchema, response)}\n`),
    end: () => undefined,
  };
}

const FINISHED: Record<FinishReason, string> = {
  [FinishReason.UNSPECIFIED]: "ended",
  [FinishReason.END_OF_SEQUENCE]: "the model ended the text",
  [FinishReason.STOP]: "a stop string was met",
  [FinishReason.MAX_TOKENS]: "--max-tokens were generated",
  [FinishReason.CONTEXT_FULL]: "the context is full",
};

function summaryLine(summary: GenerateSummary): string {
  return [
    `${summary.promptTokens} prompt + ${summary.generatedTokens} generated tokens`,
    `first after ${formatSeconds(summary.timeToFirstTokenS)}`,
    `then ${summary.decodeTokensPerS.toFixed(1)} tokens/s`,
    `seed ${summary.seed}`,
    ...(summary.traceId === "" ? [] : [`trace ${summary.traceId}`]),
    FINISHED[summary.finishReason],
  ].join(", ");
}
