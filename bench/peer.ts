/** The peer as benchmarks see it: an engine that reads a prompt and goes on, and tells how long that took. */
import { fileURLToPath } from "node:url";
import { ThermoclineError } from "../proto/errors.js";
import { Companion } from "./companion.js";
import { type Generated, type PeerRequest, parseReply } from "./peer-protocol.js";

/** What a peer is run with. */
export interface PeerOptions {
  modelPath: string;
  threads: number;
  /** Positions its cache must hold. */
  contextLength: number;
  signal: AbortSignal;
  /** The program; another one only in tests. */
  entry: string;
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

export class Peer {
  private constructor(
    private readonly companion: Companion,
    private readonly threads: number,
    /** What it is and what it was run with. */
    readonly description: string,
    /** What its library did before it came to the model, in milliseconds. */
    readonly libraryMs: number,
  ) {}

  /** Starts its process and loads the model. Nothing is left behind when it rejects. @throws ThermoclineError */
  static async open({ modelPath, threads, contextLength, signal, entry }: PeerOptions): Promise<Peer> {
    const companion = new Companion({ entry, label: "llama.cpp", signal });
    try {
      companion.send({ kind: "load", modelPath, threads, contextLength } satisfies PeerRequest);
      const { description, libraryMs } = parseReply("loaded", await companion.next());
      return new Peer(companion, threads, `${description}, ${threads} threads, ${modelPath}`, libraryMs);
    } catch (error) {
      await companion.close();
      throw error;
    }
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
    return runOf(prompt.length, generated);
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
