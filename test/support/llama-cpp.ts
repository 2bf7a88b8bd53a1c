/** llama.cpp, by way of node-llama-cpp's prebuilt CPU binary: nothing is built and nothing fetched. */
import { getLlama, type Llama, type LlamaContextSequence, LlamaLogLevel, type Token } from "node-llama-cpp";
import { argmax } from "../oracle/forward.js";

/** Loads the library. Whoever opens it disposes of it. */
export function openLlamaCpp(): Promise<Llama> {
  return getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    logLevel: LlamaLogLevel.error,
  });
}

/** A model in llama.cpp with one sequence. f16 cache, no flash attention: the arithmetic the oracle knows. */
export class LlamaCppSequence {
  private constructor(
    private readonly sequence: LlamaContextSequence,
    private readonly vocab: number,
    private readonly dispose: () => Promise<void>,
  ) {}

  static async load(
    llama: Llama,
    {
      path,
      shape,
      trainedContextLength,
    }: { path: string; shape: { vocab: number }; trainedContextLength: number },
  ): Promise<LlamaCppSequence> {
    const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
    const context = await model.createContext({
      contextSize: trainedContextLength,
      flashAttention: false,
      sequences: 1,
      threads: 1,
    });
    return new LlamaCppSequence(context.getSequence(), shape.vocab, async () => {
      await context.dispose();
      await model.dispose();
    });
  }

  /** Appends the tokens. @returns the logits after each of them */
  async evaluate(tokens: readonly number[]): Promise<Float32Array[]> {
    const outputs = await this.sequence.controlledEvaluate(
      tokens.map((token) => [
        token as Token,
        { generateNext: { logits: true, options: { temperature: 0 } } },
      ]),
    );
    return tokens.map((_, i) => {
      const logits = outputs[i]?.next.logits;
      if (logits?.size !== this.vocab) throw new Error(`llama.cpp gave ${logits?.size ?? 0} logits`);
      const row = new Float32Array(this.vocab);
      for (const [token, logit] of logits) row[token] = logit;
      return row;
    });
  }

  /** Appends the prompt and then `count` tokens, the most likely one each time. @returns those tokens */
  async greedy(prompt: readonly number[], count: number): Promise<number[]> {
    const tokens: number[] = [];
    for (let input = [...prompt]; tokens.length < count; ) {
      const next = argmax((await this.evaluate(input)).at(-1) ?? []);
      tokens.push(next);
      input = [next];
    }
    return tokens;
  }

  async clear(): Promise<void> {
    await this.sequence.clearHistory();
  }

  async close(): Promise<void> {
    await this.dispose();
  }
}
