/** GetPlacementResponse of inference.proto from what the executor group knows. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  ExecutorKind,
  type GetPlacementResponseSchema,
} from "../../proto/gen/thermocline/v1/inference_pb.js";
import type { Placement } from "../executors/group.js";
import { executorName } from "../telemetry/executor-names.js";

/** How neurons were placed, as GetPlacementResponse names it. */
export type PlacementPolicy = "profile" | "in-order" | "file";

const KINDS = { cpu: ExecutorKind.CPU, gpu: ExecutorKind.GPU } as const;

export function toPlacementResponse(
  { schedule, executors }: Placement,
  policy: PlacementPolicy,
): MessageInitShape<typeof GetPlacementResponseSchema> {
  return {
    policy,
    executors: executors.map(({ kind, device, memory, budgetBytes, threads }, index) => ({
      name: executorName(index, schedule.executors),
      kind: KINDS[kind],
      device,
      weightBytes: BigInt(memory.weightBytes),
      kvCacheBytes: BigInt(memory.kvCacheBytes),
      scratchBytes: BigInt(memory.scratchBytes),
      budgetBytes: BigInt(budgetBytes),
      threads,
    })),
    layers: schedule.layers.map(({ attention, neuronOwner }, layer) => {
      const neurons = executors.map(() => 0);
      for (const owner of neuronOwner) neurons[owner] = (neurons[owner] ?? 0) + 1;
      return { layer, attentionExecutor: attention, neurons };
    }),
  };
}
