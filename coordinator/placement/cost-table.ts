/** Every layer's choices with what they take, worked out once where a search looks at them again and again. */
import { groupsOf, layerBytes, layerS, type Owner, type PlacementProblem } from "./problem.js";

export const OWNERS: readonly Owner[] = ["gpu", "cpu"];

/** Entry k of both: with k hot groups. */
export interface OwnerTable {
  /** Seconds of the layer but for its residual's way. */
  s: Float64Array;
  bytes: Float64Array;
}

/** For each layer, by its owner. */
export type CostTable = readonly Readonly<Record<Owner, OwnerTable>>[];

export function costTable(problem: PlacementProblem): CostTable {
  return problem.layers.map((layer, index) => {
    const of = (owner: Owner): OwnerTable => {
      const numbers = Float64Array.from({ length: groupsOf(layer) + 1 }, (_, hot) => hot);
      return {
        s: numbers.map((hot) => layerS(problem, index, { owner, hot })),
        bytes: numbers.map((hot) => layerBytes(problem, index, { owner, hot })),
      };
    };
    return { gpu: of("gpu"), cpu: of("cpu") };
  });
}
