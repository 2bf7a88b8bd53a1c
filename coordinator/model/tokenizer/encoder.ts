/** Turns texts into tokens without holding the event loop up: short ones at once, long ones on a thread of their own. */
import { Worker } from "node:worker_threads";
import { type StatusCode, ThermoclineError } from "../../../proto/errors.js";
import type { GgufFile } from "../gguf.js";
import type { Tokenizer } from "../tokenizer.js";

/** Encoding takes 0.5 to 8 µs a character, so up to here it takes no longer than a few decode steps. */
const SHORT_CHARACTERS = 4096;
/** Most long texts that wait for the thread; the next one is refused. */
const MOST_WAITING = 64;

/** What the thread is given to read its vocabulary from. */
export type VocabularyFile = Pick<GgufFile, "path" | "fileBytes">;

/** The arguments of {@link Tokenizer.encode}. */
export interface EncodeOrder {
  text: string;
  addSpecial: boolean;
  parseSpecial: boolean;
}

export type EncodeAnswer =
  | { kind: "tokens"; tokens: Uint32Array }
  | { kind: "failed"; code: StatusCode; message: string };

interface Job {
  order: EncodeOrder;
  resolve: (tokens: number[]) => void;
  reject: (error: unknown) => void;
}

/**
 * The thread is started by the first long text and reads the vocabulary from the file again, so that a server which
 * never sees one does not pay for it. It gets one text at a time.
 */
export class Encoder {
  private worker: Worker | null = null;
  /** The first is at work. */
  private readonly jobs: Job[] = [];
  private closed = false;

  /** @param entry the thread's compiled code */
  constructor(
    private readonly tokenizer: Pick<Tokenizer, "encode">,
    private readonly file: VocabularyFile,
    private readonly entry: URL = new URL("./encode-worker.js", import.meta.url),
  ) {}

  /**
   * @param signal gives a long text up; the promise rejects with its reason
   * @throws ThermoclineError those of {@link Tokenizer.encode}; RESOURCE_EXHAUSTED when too many long texts wait;
   *   FAILED_PRECONDITION when the model file was replaced; UNAVAILABLE after {@link close}
   */
  async encode(order: EncodeOrder, signal: AbortSignal): Promise<number[]> {
    signal.throwIfAborted();
    const { text, addSpecial, parseSpecial } = order;
    if (text.length <= SHORT_CHARACTERS) return this.tokenizer.encode(text, addSpecial, parseSpecial);
    if (this.closed) throw shuttingDown();
    if (this.jobs.length > MOST_WAITING) {
      throw new ThermoclineError(
        "RESOURCE_EXHAUSTED",
        `${MOST_WAITING} texts of more than ${SHORT_CHARACTERS} characters already wait to be tokenized; try again later`,
      );
    }
    let giveUp: (() => void) | null = null;
    try {
      return await new Promise<number[]>((resolve, reject) => {
        const job = { order, resolve, reject };
        giveUp = () => this.giveUp(job, signal.reason);
        signal.addEventListener("abort", giveUp, { once: true });
        if (this.jobs.push(job) === 1) this.begin(job);
      });
    } finally {
      if (giveUp !== null) signal.removeEventListener("abort", giveUp);
    }
  }

  /** Ends the thread and, with UNAVAILABLE, what waits for it. Idempotent. */
  async close(): Promise<void> {
    this.closed = true;
    const { worker } = this;
    this.worker = null;
    this.failAll(shuttingDown());
    await worker?.terminate();
  }

  private begin({ order }: Job): void {
    this.worker ??= this.start();
    this.worker.postMessage(order);
  }

  private start(): Worker {
    const worker = new Worker(this.entry, { workerData: this.file });
    worker.on("message", (answer: EncodeAnswer) => {
      const job = this.jobs.shift();
      if (answer.kind === "tokens") job?.resolve(Array.from(answer.tokens));
      else job?.reject(new ThermoclineError(answer.code, answer.message));
      const [next] = this.jobs;
      if (next !== undefined) this.begin(next);
    });
    worker.on("error", (error) => this.lose(worker, error));
    worker.on("exit", (code) => this.lose(worker, new Error(`it exited with code ${code}`)));
    return worker;
  }

  /** Out of memory, or a defect; the next long text gets a new thread. */
  private lose(worker: Worker, cause: Error): void {
    if (this.worker !== worker) return;
    this.worker = null;
    this.failAll(
      new ThermoclineError("INTERNAL", `the thread that tokenizes long texts was lost: ${cause.message}`, {
        cause,
      }),
    );
  }

  /** What is at work goes on to its end, and nobody hears of it. */
  private giveUp(job: Job, reason: unknown): void {
    const place = this.jobs.indexOf(job);
    if (place > 0) this.jobs.splice(place, 1);
    job.reject(reason);
  }

  private failAll(error: ThermoclineError): void {
    for (const job of this.jobs.splice(0)) job.reject(error);
  }
}

function shuttingDown(): ThermoclineError {
  return new ThermoclineError("UNAVAILABLE", "the server is shutting down");
}
