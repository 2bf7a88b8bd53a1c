/** InferenceService of inference.proto. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Logger } from "pino";
import { ThermoclineError } from "../../proto/errors.js";
import {
  FinishReason,
  type GenerateRequest,
  type GenerateResponseSchema,
  type GetModelResponseSchema,
  type InferenceService,
} from "../../proto/gen/thermocline/v1/inference_pb.js";
import type { Placement } from "../executors/group.js";
import type { Model } from "../model/model.js";
import type { Encoder } from "../model/tokenizer/encoder.js";
import type { Tokenizer } from "../model/tokenizer.js";
import type { Batcher } from "../schedule/batcher.js";
import type { GenerationEvent, FinishReason as Reason } from "../schedule/generation.js";
import type { StepLimits } from "../schedule/step.js";
import { toGenerationRequest } from "./generation-request.js";
import { type PlacementPolicy, toPlacementResponse } from "./placement-response.js";
import { detokenize, tokenize } from "./text.js";
import { extractTraceContext } from "./trace-context.js";
import { fromAbortReason, toConnectError } from "./wire-error.js";

/** What the service needs of the rest of the coordinator. */
export interface InferenceDependencies {
  model: Model;
  tokenizer: Tokenizer;
  encoder: Pick<Encoder, "encode">;
  batcher: Pick<Batcher, "generate">;
  /** Its placement is null until the first load. */
  group: { readonly placement: Placement | null };
  limits: StepLimits;
  policy: PlacementPolicy;
  log: Logger;
}

export function inferenceService(dependencies: InferenceDependencies): ServiceImpl<typeof InferenceService> {
  const { model, tokenizer, encoder, group, limits, policy, log } = dependencies;
  const answer = <I, O>(work: (request: I, signal: AbortSignal) => O | Promise<O>) => {
    return async (request: I, context: HandlerContext): Promise<O> => {
      try {
        return await work(request, abortSignal(context));
      } catch (error) {
        throw toConnectError(error, log);
      }
    };
  };
  return {
    generate: (request, context) => generate(dependencies, request, context),
    tokenize: answer(async ({ text, addSpecial }, signal) => ({
      tokens: await tokenize("text", text, addSpecial ?? true, encoder, limits.contextLength, signal),
    })),
    detokenize: answer(({ tokens }) => ({ text: detokenize(tokens, tokenizer, limits.contextLength) })),
    getModel: () => describeModel(model, limits),
    getPlacement: answer(() => {
      if (group.placement === null) {
        throw new ThermoclineError("UNAVAILABLE", "the model is still loading; try again in a moment");
      }
      return toPlacementResponse(group.placement, policy);
    }),
  };
}

async function* generate(
  { batcher, tokenizer, encoder, limits, log }: InferenceDependencies,
  request: GenerateRequest,
  context: HandlerContext,
): AsyncGenerator<MessageInitShape<typeof GenerateResponseSchema>> {
  try {
    const asked = await toGenerationRequest(
      request,
      { tokenizer, encoder, contextLength: limits.contextLength },
      abortSignal(context),
      extractTraceContext(context.requestHeader),
    );
    for await (const event of batcher.generate(asked)) yield toResponse(event, tokenizer);
  } catch (error) {
    throw toConnectError(error, log);
  }
}

/** The call's signal, with a reason in our own words. */
function abortSignal({ signal, timeoutMs }: HandlerContext): AbortSignal {
  const control = new AbortController();
  const leftMs = timeoutMs() ?? null;
  const onAbort = () => control.abort(fromAbortReason(signal.reason, leftMs));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return control.signal;
}

const FINISH_REASONS = {
  "end-of-sequence": FinishReason.END_OF_SEQUENCE,
  stop: FinishReason.STOP,
  "max-tokens": FinishReason.MAX_TOKENS,
  "context-full": FinishReason.CONTEXT_FULL,
} as const satisfies Record<Reason, FinishReason>;

function toResponse(
  event: GenerationEvent,
  tokenizer: Tokenizer,
): MessageInitShape<typeof GenerateResponseSchema> {
  if (event.kind === "summary") {
    const { finishReason, ...summary } = event.summary;
    const value = { ...summary, finishReason: FINISH_REASONS[finishReason] };
    return { event: { case: "summary", value } };
  }
  const { id, text, logprob } = event;
  const top = event.top.map((candidate) => ({ ...candidate, text: tokenizer.decode([candidate.id]) }));
  return { event: { case: "token", value: { id, text, top, ...(logprob === null ? {} : { logprob }) } } };
}

function describeModel(model: Model, limits: StepLimits): MessageInitShape<typeof GetModelResponseSchema> {
  const { name, architecture, shape, trainedContextLength, hasPredictor, parameters, fileBytes } = model;
  return {
    name,
    architecture,
    layers: shape.layers,
    embeddingLength: shape.embd,
    feedForwardLength: shape.ff,
    attentionHeads: shape.heads,
    keyValueHeads: shape.kvHeads,
    vocabularySize: shape.vocab,
    trainedContextLength,
    contextLength: limits.contextLength,
    slots: limits.slots,
    activation: shape.activation,
    reluThreshold: shape.reluThreshold,
    hasPredictor,
    parameters: BigInt(parameters),
    fileBytes: BigInt(fileBytes),
  };
}
