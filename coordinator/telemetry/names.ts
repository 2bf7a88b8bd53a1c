/** Names of spans' and metrics' attributes, and of metrics. docs/telemetry.md describes them to users. */

export const ATTRIBUTES = {
  /** Such as "gpu-executor" or "cpu-executor-0". */
  executor: "thermocline.executor",
  layer: "thermocline.layer",
  /** One of PHASES in native/index.ts. */
  phase: "thermocline.phase",
  /** "prefill" or "decode"; "mixed" for a step that serves both. */
  stage: "thermocline.stage",
  /** Number of a step, unique as long as the executors live. */
  step: "thermocline.step",
  /** Rows of the step, of all requests in it. */
  rows: "thermocline.rows",
  /** Rows of this request in the step. */
  requestRows: "thermocline.request.rows",
  /** Requests with rows in the step. */
  requests: "thermocline.requests",
  /** Steps that served this request. */
  steps: "thermocline.steps",
  /** Those of them that have a span with their layers. */
  detailedSteps: "thermocline.steps.detailed",
  /** (row, neuron) pairs that fired. */
  activeNeurons: "thermocline.neurons.active",
  /** Neurons that the executor holds in the layer. */
  placedNeurons: "thermocline.neurons.placed",
  /** Weight bytes read. */
  bytesTouched: "thermocline.bytes_touched",
  /** Layers with neurons that moved in a round of re-placement. */
  movedLayers: "thermocline.re_placement.layers",
  /** Neurons that moved in it. */
  movedNeurons: "thermocline.re_placement.neurons",
  /** Weight bytes copied for them. */
  movedBytes: "thermocline.re_placement.bytes",
  /** "stage" or "apply". */
  part: "thermocline.re_placement.part",
  errorType: "error.type",
} as const;

/**
 * Semantic conventions for generative AI, https://opentelemetry.io/docs/specs/semconv/gen-ai/. They are still
 * "Development", so the package's stable part does not export them.
 */
export const GEN_AI = {
  operation: "gen_ai.operation.name",
  provider: "gen_ai.provider.name",
  requestModel: "gen_ai.request.model",
  inputTokens: "gen_ai.usage.input_tokens",
  outputTokens: "gen_ai.usage.output_tokens",
  finishReasons: "gen_ai.response.finish_reasons",
  tokenType: "gen_ai.token.type",
} as const;

export const METRICS = {
  requestDuration: "gen_ai.server.request.duration",
  timeToFirstToken: "gen_ai.server.time_to_first_token",
  timePerOutputToken: "gen_ai.server.time_per_output_token",
  queueTime: "thermocline.request.queue_time",
  activeRequests: "thermocline.request.active",
  tokens: "thermocline.request.tokens",
  stepDuration: "thermocline.step.duration",
  stepRows: "thermocline.step.rows",
  phaseDuration: "thermocline.phase.duration",
  phaseActiveNeurons: "thermocline.phase.neurons.active",
  phaseBytesTouched: "thermocline.phase.bytes_touched",
  movedNeurons: "thermocline.re_placement.neurons",
  movedBytes: "thermocline.re_placement.bytes",
  rePlacementDuration: "thermocline.re_placement.duration",
} as const;
