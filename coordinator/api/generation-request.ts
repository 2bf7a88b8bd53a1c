/** GenerateRequest of inference.proto, checked field by field. */
import { create } from "@bufbuild/protobuf";
import type { Context } from "@opentelemetry/api";
import { ThermoclineError } from "../../proto/errors.js";
import {
  type GenerateRequest,
  type SamplingOptions,
  SamplingOptionsSchema,
} from "../../proto/gen/thermocline/v1/inference_pb.js";
import type { Encoder } from "../model/tokenizer/encoder.js";
import type { Tokenizer } from "../model/tokenizer.js";
import type { GenerationRequest, SamplingParams } from "../schedule/generation.js";
import { checkTokens, tokenize } from "./text.js";

const MOST_STOPS = 16;
const MOST_TOP_LOGPROBS = 64;

/** What turns a prompt into tokens, and how long it may be. */
export interface PromptReader {
  tokenizer: Tokenizer;
  encoder: Pick<Encoder, "encode">;
  contextLength: number;
}

/** @throws ThermoclineError INVALID_ARGUMENT that names the field at fault, and those of {@link Encoder.encode} */
export async function toGenerationRequest(
  request: GenerateRequest,
  reader: PromptReader,
  signal: AbortSignal,
  traceContext: Context,
): Promise<GenerationRequest> {
  const arrivedAt = performance.now();
  checkOptions(request);
  const sampling = toSamplingParams(request.sampling);
  return {
    arrivedAt,
    promptTokens: await promptTokens(request, reader, signal),
    maxTokens: request.maxTokens ?? null,
    sampling,
    stop: request.stop,
    topLogprobs: request.topLogprobs,
    logprobs: request.logprobs,
    layerSummary: request.layerSummary,
    ignoreEos: request.ignoreEos,
    signal,
    traceContext,
  };
}

async function promptTokens(
  request: GenerateRequest,
  { tokenizer, encoder, contextLength }: PromptReader,
  signal: AbortSignal,
): Promise<number[]> {
  if (request.prompt !== "" && request.promptTokens.length > 0) {
    throw invalid("both prompt and prompt_tokens are given; give one of them");
  }
  if (request.promptTokens.length > 0) {
    checkTokens("prompt_tokens", request.promptTokens, tokenizer);
    return request.promptTokens;
  }
  if (request.prompt === "") throw invalid("neither prompt nor prompt_tokens is given; give one of them");
  return tokenize("prompt", request.prompt, true, encoder, contextLength, signal);
}

function checkOptions({ maxTokens, stop, topLogprobs }: GenerateRequest): void {
  if (maxTokens === 0) {
    throw invalid("max_tokens is 0; give at least 1, or leave it out to use what is left of the context");
  }
  if (stop.length > MOST_STOPS) {
    throw invalid(`there are ${stop.length} stop strings; give at most ${MOST_STOPS}`);
  }
  const empty = stop.indexOf("");
  if (empty >= 0) throw invalid(`stop[${empty}] is empty; leave it out`);
  if (topLogprobs > MOST_TOP_LOGPROBS) {
    throw invalid(`top_logprobs is ${topLogprobs}; give at most ${MOST_TOP_LOGPROBS}`);
  }
}

function toSamplingParams(options: SamplingOptions | undefined): SamplingParams {
  const {
    temperature,
    topK,
    topP = 1,
    minP,
    repeatPenalty = 1,
    seed = null,
  } = options ?? create(SamplingOptionsSchema);
  // Written so that NaN fails too.
  if (!(temperature >= 0 && temperature <= 100)) throw outOfRange("temperature", temperature, "0 to 100");
  if (!(topP > 0 && topP <= 1)) throw outOfRange("top_p", topP, "above 0 and at most 1");
  if (!(minP >= 0 && minP <= 1)) throw outOfRange("min_p", minP, "0 to 1");
  if (!(repeatPenalty > 0 && repeatPenalty <= 10)) {
    throw outOfRange("repeat_penalty", repeatPenalty, "above 0 and at most 10");
  }
  return { temperature, topK, topP, minP, repeatPenalty, seed };
}

function outOfRange(field: string, value: number, range: string): ThermoclineError {
  // A float32 that stands for 0.1 would print as 0.10000000149011612.
  return invalid(`sampling.${field} is ${Number(value.toPrecision(7))}; give ${range}`);
}

function invalid(message: string): ThermoclineError {
  return new ThermoclineError("INVALID_ARGUMENT", message);
}
