/** What a machine can do, as far as placement goes by it: read from a file, or measured. */
import { z } from "zod";
import type { WeightType } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import { EXAMPLE_MACHINES } from "./example-machines.js";
import { readPlacementJson } from "./placement-json.js";

export const MACHINE_FORMAT = "thermocline-machine-1";

/** What an executor spends time on that is told apart. */
export const STAGES = ["attention", "predict", "neurons", "head"] as const;
export type Stage = (typeof STAGES)[number];

const TYPES = Object.keys(WEIGHT_TYPES) as [WeightType, ...WeightType[]];
const positive = z.number().positive().finite();
const microseconds = z.number().nonnegative().finite();

const sideSchema = z.strictObject({
  name: z.string().min(1),
  /** What its threads together can read of its memory in a second. */
  bytesPerS: positive,
  /**
   * The share of that at which kernels read weights of a type in a stage; the first that fits counts. More than 1 is
   * what a cache gives.
   */
  kernels: z
    .array(
      z.strictObject({
        type: z.enum([...TYPES, "any"]),
        stage: z.enum([...STAGES, "any"]),
        share: positive,
      }),
    )
    .min(1),
  /** Added to each layer's half that has neurons: waking threads, launching kernels, adding up. */
  startUs: microseconds,
});

const machineSchema = z.strictObject({
  format: z.literal(MACHINE_FORMAT),
  name: z.string().min(1),
  /** Where the figures come from. */
  source: z.enum(["data sheet", "measured", "estimated"]),
  note: z.string(),
  gpu: sideSchema.extend({
    memoryBytes: z.number().int().positive(),
    /** What the driver, its context and the desktop take. */
    reserveBytes: z.number().int().nonnegative(),
  }),
  cpu: sideSchema,
  /** Both ways of a layer's activations between executors. */
  handOverUs: microseconds,
  /** The residual's way to another owner. */
  residualUs: microseconds,
  /** Of a step outside the layers and the head. */
  stepUs: microseconds,
  /** What two sides at work at the same time lose to each other: 0 with memories of their own, 1 when they take turns. */
  contention: z.number().min(0).max(1),
});

export type MachineSide = z.infer<typeof sideSchema>;
export type PlacementMachine = z.infer<typeof machineSchema>;

/** Bytes of weights a second. */
export function kernelBytesPerS(side: MachineSide, type: WeightType, stage: Stage): number {
  const found = side.kernels.find(
    (kernel) =>
      (kernel.type === "any" || kernel.type === type) && (kernel.stage === "any" || kernel.stage === stage),
  );
  if (found !== undefined) return side.bytesPerS * found.share;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `the machine file has no kernel share of ${side.name} for ${type} weights in the stage ${stage}; add one, or one ` +
      'with the type and the stage "any"',
  );
}

/**
 * @param nameOrPath one of the machines that come along, or the path of a file
 * @throws ThermoclineError INVALID_ARGUMENT when it is neither, or the file is no machine file
 */
export async function loadMachine(nameOrPath: string): Promise<PlacementMachine> {
  const known = EXAMPLE_MACHINES.find(({ id }) => id === nameOrPath);
  if (known !== undefined) return known.machine;
  const machine = await readPlacementJson(nameOrPath, machineSchema, "machine file");
  if (machine !== null) return machine;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `--machine is "${nameOrPath}", which is no file and none of the machines that come along; give a machine file, or ` +
      `one of ${EXAMPLE_MACHINES.map(({ id }) => id).join(", ")}`,
  );
}

/** Whether it is a machine, for caches. */
export const placementMachineSchema = machineSchema;
