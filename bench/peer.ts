/** The peer as benchmarks see it: an engine that reads a prompt and goes on, and tells how long that took. */
import { fileURLToPath } from "node:url";
import { ThermoclineError } from "../proto/errors.js";
import { Companion } from "./companion.js";
import {
  type Generated,
  type Loaded,
  type PeerRequest,
  type PeerSetup,
  parseReply,
  type Surveyed,
} from "./peer-protocol.js";

/** What a peer's process is started with. */
export interface PeerProcess extends PeerSetup {
  signal: AbortSignal;
  /** The program; another one only in tests. */
  entry: string;
}

export interface PeerOptions extends PeerProcess {
  /** Layers on a CUDA card, the output counted as one; null computes on the CPU without one. */
  gpuLayers: number | null;
}

export const LLAMA_CPP_ENTRY = fileURLToPath(new URL("./llama-cpp-process.js", import.meta.url));

/** One request's figures. */
export interface PeerRun {
  tokens: number[];
  /** Prompt tokens a second, up to the first token. */
  prefillTokensPerS: number;
  /** Tokens a second after the first one; NaN when there was no other. */
  decodeTokensPerS: number;
  /** The same by the engine's own clock, without what calls it; null where it tells nothing. */
  own: Generated["own"];
}

/** What a card would hold, without loading anything. @throws ThermoclineError */
export async function surveyPeer(
  { signal, entry, ...setup }: PeerProcess,
  budgetBytes: number,
): Promise<Surveyed> {
  const companion = new Companion({ entry, label: "llama.cpp", signal });
  try {
    companion.send({ kind: "survey", ...setup, budgetBytes } satisfies PeerRequest);
    return parseReply("surveyed", await companion.next());
  } finally {
    await companion.close();
  }
}

export class Peer {
  private peakBytes = 0;

  private constructor(
    private readonly companion: Companion,
    private readonly threads: number,
    /** What it is and what it was run with. */
    readonly description: string,
    /** What its library did before it came to the model, in milliseconds. */
    readonly libraryMs: number,
    /** Layers on the card, of how many; null on the CPU. */
    readonly gpu: Loaded["gpu"],
  ) {}

  /**
   * Starts its process and loads the model. Nothing is left behind when it rejects.
   * @throws ThermoclineError; RESOURCE_EXHAUSTED when the card's memory does not suffice
   */
  static async open({ signal, entry, ...setup }: PeerOptions): Promise<Peer> {
    const { threads, modelPath } = setup;
    const companion = new Companion({ entry, label: "llama.cpp", signal });
    try {
      companion.send({ kind: "load", ...setup } satisfies PeerRequest);
      const { description, libraryMs, gpu } = parseReply("loaded", await companion.next());
      const text = `${description}, ${threads} threads, ${modelPath}`;
      return new Peer(companion, threads, text, libraryMs, gpu);
    } catch (error) {
      await companion.close();
      throw error;
    }
  }

  /** Memory of the card that it had at the most, in bytes, the kernels' code included; 0 on the CPU. */
  get peakVramBytes(): number {
    return this.peakBytes;
  }

  get pid(): number {
    return this.companion.pid;
  }

  /**
   * Generates exactly `tokens` tokens greedily, with nothing remembered from before.
   * @throws ThermoclineError; FAILED_PRECONDITION when it computed with another number of threads than it was given
   */
  async generate(prompt: readonly number[], tokens: number): Promise<PeerRun> {
    this.companion.send({ kind: "generate", prompt, tokens } satisfies PeerRequest);
    const generated = parseReply("generated", await this.companion.next());
    if (generated.threads !== this.threads) {
      throw new ThermoclineError(
        "FAILED_PRECONDITION",
        `llama.cpp computed with ${generated.threads} threads and was given ${this.threads}; with --threads ` +
          `${generated.threads} both have as many`,
      );
    }
    this.peakBytes = Math.max(this.peakBytes, generated.vramBytes ?? 0);
    return runOf(prompt.length, generated);
  }

  /**
   * Gives a card's memory back; all that is left to do is close it.
   * @returns bytes of it that stayed: the driver's and the kernels' code
   * @throws ThermoclineError
   */
  async release(): Promise<number> {
    this.companion.send({ kind: "release" } satisfies PeerRequest);
    return parseReply("released", await this.companion.next()).keptBytes;
  }

  /** Ends its process. Idempotent. */
  close(): Promise<void> {
    return this.companion.close();
  }
}

function runOf(promptTokens: number, { tokens, prefillMs, decodeMs, own }: Generated): PeerRun {
  return {
    tokens,
    prefillTokensPerS: (1000 * promptTokens) / prefillMs,
    decodeTokensPerS: tokens.length > 1 ? (1000 * (tokens.length - 1)) / decodeMs : Number.NaN,
    own,
  };
}
