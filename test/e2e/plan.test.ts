/** `thermocline plan` as a person calls it, and that other commands do as it says. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import { withPredictor } from "../../coordinator/model/predictor.js";
import { loadMachine } from "../../coordinator/placement/machine.js";
import { cacheFolder, PlanCache } from "../../coordinator/placement/plan-cache.js";
import { machineKey } from "../../coordinator/placement/planner.js";
import { writeProfile } from "../../coordinator/profile/profile-file.js";
import { profiledModel } from "../../coordinator/profile/profiled-model.js";
import { findCard } from "../../native/find-card.js";
import { profileOf } from "../support/profiles.js";
import { TestClient } from "./support/client.js";
import { CACHE_HOME, Sandbox, TEST_DEVICE } from "./support/sandbox.js";

let sandbox: Sandbox;
const clients: TestClient[] = [];
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await sandbox.remove();
});

interface PlannedLayer {
  attentionExecutor: number;
  neurons: number[];
}

/** Who computes what, as a running server says, and why. */
async function served(...args: string[]): Promise<{ policy: string; layers: PlannedLayer[] }> {
  const { address } = await sandbox.serve(...args);
  const client = new TestClient(address);
  clients.push(client);
  const placement = await client.service.unary("getPlacement", {}, { deadlineMs: 5000, signal: null });
  const layers = placement.layers.map(({ attentionExecutor, neurons }) => ({ attentionExecutor, neurons }));
  return { policy: placement.policy, layers };
}

function layersOf(json: string): PlannedLayer[] {
  const { layers } = JSON.parse(json) as { layers: PlannedLayer[] };
  return layers.map(({ attentionExecutor, neurons }) => ({ attentionExecutor, neurons }));
}

/** Holds some of the neurons; a card leaves embeddings where they are. */
const BUDGET_MIB = TEST_DEVICE === "host" ? 5 : 4;
const STACK = ["--gpu", "host", "--vram-budget", `${BUDGET_MIB}MiB`, "--threads", "2", "--slots", "2"];

/** Keeps a measurement for {@link STACK}, as a quiet machine would give one. */
async function keepMeasurement(): Promise<void> {
  const loaded = await loadModel(bundledModelPath(), { activation: null, reluThreshold: null });
  const machine = { ...(await loadMachine("rtx-3090-ddr4")), source: "measured" as const };
  const found = TEST_DEVICE === "cuda" ? await findCard("cuda") : null;
  const card = found?.kind === "card" ? found.card.name : null;
  const key = machineKey(withPredictor(loaded, "auto"), [
    { kind: "gpu", device: TEST_DEVICE, card, budgetBytes: 0, threads: 1 },
    // A card's executor takes none of the threads that compute.
    { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: TEST_DEVICE === "host" ? 1 : 2 },
  ]);
  const cache = new PlanCache(cacheFolder({ XDG_CACHE_HOME: CACHE_HOME }), expect.unreachable);
  cache.write("measured", key, { machine, uniformShare: 1 });
}

function measurements(): number {
  const folder = cacheFolder({ XDG_CACHE_HOME: CACHE_HOME });
  return existsSync(folder) ? readdirSync(folder).filter((name) => name.startsWith("measured-")).length : 0;
}

test("measures this machine, and keeps that unless others were at work", async () => {
  const before = measurements();
  const { code, stdout, stderr } = await sandbox.run("plan", ...STACK, "--threads", "3", "--json");
  expect(code).toBe(0);
  const { machine } = JSON.parse(stdout);
  expect(machine.source).toBe("measured");
  expect(machine.stepUs).toBeGreaterThan(0);
  expect(measurements() - before).toBe(/^thermocline: other processes took \d+ % /m.test(stderr) ? 0 : 1);
});

test("serve follows what plan finds on a machine that is known, and a saved placement as well", async () => {
  await keepMeasurement();
  const first = await sandbox.run("plan", ...STACK, "--json");
  expect(first.code).toBe(0);
  const report = JSON.parse(first.stdout);
  expect(report).toMatchObject({ machine: { source: "measured" }, budgetBytes: BUDGET_MIB * 1024 ** 2 });
  const { weightBytes, kvCacheBytes, scratchBytes } = report.memory;
  expect(weightBytes + kvCacheBytes + scratchBytes).toBeLessThanOrEqual(report.budgetBytes);
  expect(report.layers.map(({ neurons }: PlannedLayer) => neurons.reduce((a, b) => a + b))).toEqual(
    Array(5).fill(768),
  );
  const again = await sandbox.run("plan", ...STACK, "--json");
  expect(again.stdout).toBe(first.stdout);
  expect(await served(...STACK)).toEqual({ policy: "profile", layers: layersOf(first.stdout) });

  // Whatever this machine would rather have.
  const saved = join(sandbox.path, "placement.json");
  const other = await sandbox.run(
    "plan",
    ...STACK.slice(2),
    "--machine",
    "rtx-2080ti-ddr4",
    "--save",
    saved,
    "--json",
  );
  expect(await served(...STACK, "--placement", saved)).toEqual({
    policy: "file",
    layers: layersOf(other.stdout),
  });
});

test("goes by the profile that is named, and serve does as well", async () => {
  await keepMeasurement();
  const model = await loadModel(bundledModelPath(), { activation: null, reluThreshold: null });
  const { layers, ff } = model.shape;
  // From layer to layer more of them fire for every token, and the others for none.
  const counts = Array.from({ length: layers * ff }, (_, neuron) =>
    (neuron % ff) * layers < ff * Math.floor(neuron / ff) ? 1000 : 0,
  );
  const path = join(sandbox.path, "named.profile.gguf");
  const profile = profileOf(model, { "a.txt": counts });
  await writeProfile(path, profile, await profiledModel(model));
  const named = await sandbox.run("plan", ...STACK, "--profile", path, "--json");
  expect(JSON.parse(named.stdout)).toMatchObject({ profile: path });
  const usual = await sandbox.run("plan", ...STACK, "--json");
  expect(layersOf(named.stdout)).not.toEqual(layersOf(usual.stdout));
  expect(await served(...STACK, "--profile", path)).toEqual({
    policy: "profile",
    layers: layersOf(named.stdout),
  });
});

describe("for a machine that is not there", () => {
  test("says how fast, why, what more memory would bring, and draws it; the same again", async () => {
    const svg = join(sandbox.path, "plan.svg");
    const args = ["plan", "--machine", "rtx-2080ti-ddr4", "--vram-budget", "3MiB", "--slots", "1"];
    const { code, stdout } = await sandbox.run(...args, "--explain", "4", "--svg", svg);
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^Thermocline stories .* on GeForce RTX 2080 Ti \+ DDR4-3200, .* \(data sheet: .*\)\n/,
    );
    expect(stdout).toMatch(/^[\d.]+ tokens\/s predicted, [\d.]+ ms a step, at position 256$/m);
    expect(stdout).toMatch(/^[\d.]+ % of the active neurons on the GPU executor$/m);
    expect(stdout).toMatch(
      /^activity from the profile .*stories-3\.5m-relu\.f16\.profile\.gguf, over 240739 tokens/m,
    );
    expect(stdout).toMatch(/^ {2}budget +3\.00 MiB {2}3145728 B$/m);
    expect(stdout.match(/^ +[\d.]+ MiB {2}[\d.]+ tokens\/s {2}\(\+\d+ %\)$/gm)).toHaveLength(3);
    expect(stdout).toMatch(/^layer 4, neurons in groups of 64$/m);
    expect(stdout.match(/^ {2}chosen {2}attention on (gpu|cpu), /gm)).toHaveLength(1);
    expect(readFileSync(svg, "utf8")).toMatch(/^<svg [^>]*>\n(<(rect|text) .*>\n)+<\/svg>\n$/);
    const rows = (text: string) => text.split("\n").filter((line) => /(gpu|cpu) +\d/.test(line));
    expect(rows((await sandbox.run(...args)).stdout).length).toBeGreaterThan(0);
    expect(
      (await sandbox.run(...args, "--explain", "4")).stdout.replace(/found in .* s|kept .* plan/, ""),
    ).toBe(stdout.replace(/found in .* s|kept .* plan/, ""));
  });
});

describe("what cannot be planned is said in one sentence, with exit code 1", () => {
  test.each<[string[], RegExp]>([
    [
      ["--gpu", "off"],
      /^thermocline: --gpu off leaves no GPU executor, so there is nothing to place; plan for .*\n$/,
    ],
    [
      ["--machine", "pc"],
      /^thermocline: --machine is "pc", which is no file and none of the .* rtx-4090-ddr5, .*\n$/,
    ],
    [
      ["--machine", "package.json"],
      /^thermocline: the machine file package\.json does not have the right fields: .*\n$/,
    ],
    [
      ["--machine", "rtx-4090-ddr5", "--vram-budget", "1KiB"],
      /^thermocline: a VRAM budget of 1\.00 KiB is too small for this model: .*; raise --vram-budget, .*\n$/,
    ],
    [
      ["--machine", "rtx-2080ti-ddr4", "--vram-budget", "12GiB"],
      /^thermocline: the budget is 12\d+ bytes, and GeForce RTX 2080 Ti has 11\d+, .*\n$/,
    ],
    [
      ["--machine", "rtx-4090-ddr5", "--explain", "5"],
      /^thermocline: --explain is 5, and .* layers 0 to 4\n$/,
    ],
    [["--placement", "a"], /^thermocline: --placement is what plan --save writes; leave it out here\n$/],
    [
      ["--machine", "rtx-4090-ddr5", "--profile", "none"],
      /^thermocline: --profile \S+\/none: there is no such file; check the path, or make it with .*\n$/,
    ],
    [
      ["--machine", "rtx-4090-ddr5", "--profile", bundledModelPath()],
      /^thermocline: \S+\.gguf: is no profile of a model's activations; remove the file, or name another one\n$/,
    ],
  ])("plan %j", async (args, message) => {
    const { code, stdout, stderr } = await sandbox.run("plan", ...args);
    expect(stderr).toMatch(message);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  });

  test("serve with a placement of another model", async () => {
    const path = join(sandbox.path, "other.json");
    const saved = await sandbox.run("plan", "--machine", "rtx-4090-ddr5", "--save", path);
    expect(saved.code).toBe(0);
    const file = JSON.parse(readFileSync(path, "utf8"));
    writeFileSync(path, JSON.stringify({ ...file, digest: "0" }));
    const { code, stderr } = await sandbox.run(
      "serve",
      "--gpu",
      "host",
      "--placement",
      path,
      "--listen",
      "127.0.0.1:0",
    );
    expect(stderr).toMatch(
      /^thermocline: the placement file .* was made for another model .*; plan again with --save$/m,
    );
    expect(code).toBe(1);
  });
});
