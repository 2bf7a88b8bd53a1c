/** The table that `generate --layers` prints. */
import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { layerTable } from "../../coordinator/cli/layer-table.js";
import { LayerSummarySchema } from "../../proto/gen/thermocline/v1/inference_pb.js";

const FIRST = create(LayerSummarySchema, {
  layer: 0,
  attentionUs: 19.34,
  hotUs: 29.1,
  coldUs: 34,
  waitUs: 5.06,
  mergeUs: 0.7,
  totalUs: 75,
  activeHotNeurons: 47.6,
  activeColdNeurons: 135.2,
  placedHotNeurons: 202,
  placedColdNeurons: 566,
});
const SECOND = create(LayerSummarySchema, {
  layer: 11,
  predictUs: 1234.5,
  totalUs: 225,
  placedColdNeurons: 768,
});

test("has a column each, numbers under their titles, shares of the sum", () => {
  expect(layerTable([FIRST, SECOND]).split("\n")).toEqual([
    "median µs of a decode step",
    "layer  attention  predict   hot  cold  wait  merge  total  share  active hot  active cold",
    "    0       19.3      0.0  29.1  34.0   5.1    0.7   75.0   25 %   48 of 202   135 of 566",
    "   11        0.0   1234.5   0.0   0.0   0.0    0.0  225.0   75 %      0 of 0     0 of 768",
  ]);
});

test("layers that took no time have no share", () => {
  expect(layerTable([create(LayerSummarySchema, {})])).toMatch(/ 0 % /);
});

test("without a decode step it says why there is none", () => {
  expect(layerTable([])).toMatch(/^no layer was timed.*two tokens$/);
});
