/** What a card would hold of a model in llama.cpp, by node-llama-cpp's estimates. */
import { largestFitting } from "./largest-fitting.js";
import type { LlamaCpp, NodeLlamaCpp } from "./llama-cpp-api.js";
import type { Surveyed, SurveyRequest } from "./peer-protocol.js";

/** Prompt tokens that llama.cpp computes at once: its own default. */
const BATCH = 512;

export function batchFor(contextLength: number): number {
  return Math.min(BATCH, contextLength);
}

/** Loads no weights; llama.cpp goes through what it would allocate for some numbers of layers. */
export async function surveyCard<FileInfo, Library extends LlamaCpp>(
  library: Pick<NodeLlamaCpp<unknown, FileInfo, Library>, "GgufInsights" | "readGgufFileInfo">,
  llama: Library,
  { modelPath, contextLength, budgetBytes }: SurveyRequest,
): Promise<Surveyed> {
  const { free, total } = await llama.getVramState();
  const file = await library.GgufInsights.from(await library.readGgufFileInfo(modelPath), llama);
  const estimate = async (gpuLayers: number): Promise<number> => {
    const weights = await file.estimateModelResourceRequirementsV2({ gpuLayers });
    const rest = await file.estimateContextResourceRequirementsV2({
      contextSize: contextLength,
      modelGpuLayers: gpuLayers,
      batchSize: batchFor(contextLength),
      sequences: 1,
      flashAttention: "auto",
    });
    return weights.gpuVram + rest.gpuVram;
  };
  const { totalLayers } = file;
  const one = await estimate(1);
  const all = await estimate(totalLayers);
  const layerBytes = Math.max(1, (all - one) / Math.max(1, totalLayers - 1));
  const first = 1 + Math.floor((budgetBytes - one) / layerBytes);
  const search = { most: totalLayers, first, step: layerBytes, limit: budgetBytes };
  const estimatedLayers = (await largestFitting(search, estimate)) ?? 0;
  return {
    kind: "surveyed",
    totalLayers,
    estimatedLayers,
    layerBytes,
    freeBytes: free,
    memoryBytes: total,
  };
}
