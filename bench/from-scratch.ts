/** Contenders that start with nothing and end after one request. */
import { Command } from "commander";
import { startPrivateStack } from "../coordinator/cli/private-stack.js";
import { addServingOptions } from "../coordinator/cli/serving-options.js";
import { predictorText } from "../coordinator/model/predictor.js";
import { InferenceService } from "../proto/gen/thermocline/v1/inference_pb.js";
import { connect, GrpcClient } from "../proto/grpc.js";
import type { BenchmarkContext } from "./benchmark.js";
import { LLAMA_CPP_ENTRY, Peer } from "./peer.js";
import type { PeerModel } from "./peer-model.js";

const REQUEST_DEADLINE_MS = 30 * 60 * 1000;

/**
 * Starts a server as `thermocline serve` does, sends it one greedy request, and ends it.
 * @returns milliseconds from before the start of its process to the first token
 * @throws ThermoclineError, or the signal's reason
 */
export async function serveOnce(
  { modelPath, predictor, threads, signal }: BenchmarkContext,
  prompt: readonly number[],
  tokens: number,
): Promise<number> {
  const given = [
    ...["--model", modelPath, "--predictor", predictorText(predictor)],
    ...["--gpu", "off", "--threads", String(threads)],
  ];
  const command = addServingOptions(new Command()).parse(given, { from: "user" });
  const startMs = performance.now();
  const stack = await startPrivateStack(command, signal);
  const channel = connect(stack.address, "address");
  let firstMs = Number.NaN;
  try {
    const request = { promptTokens: [...prompt], maxTokens: tokens, ignoreEos: true };
    const options = { deadlineMs: REQUEST_DEADLINE_MS, signal };
    const client = new GrpcClient(InferenceService, channel);
    for await (const { event } of client.serverStream("generate", request, options)) {
      if (event.case === "token" && Number.isNaN(firstMs)) firstMs = performance.now() - startMs;
    }
    return firstMs;
  } catch (error) {
    throw signal.aborted ? signal.reason : await stack.explain(error);
  } finally {
    channel.close();
    await stack.stop();
  }
}

/** A start, in milliseconds. */
export interface Start {
  /** From before the start of its process to the first token. */
  firstMs: number;
  /** What node-llama-cpp did of that before it came to the model; 0 for us. */
  libraryMs: number;
}

/** The same with the peer. */
export async function peerOnce(
  { threads, remark, signal }: BenchmarkContext,
  { path }: PeerModel,
  prompt: readonly number[],
  tokens: number,
): Promise<Start> {
  const startMs = performance.now();
  const setup = { modelPath: path, threads, contextLength: prompt.length + tokens, gpuLayers: null };
  const peer = await Peer.open({ ...setup, signal, entry: LLAMA_CPP_ENTRY });
  try {
    remark(`llama.cpp: ${peer.description}`);
    await peer.generate(prompt, 1);
    const firstMs = performance.now() - startMs;
    if (tokens > 1) await peer.generate(prompt, tokens);
    return { firstMs, libraryMs: peer.libraryMs };
  } finally {
    await peer.close();
  }
}
