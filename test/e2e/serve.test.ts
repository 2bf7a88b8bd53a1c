/** `thermocline serve` as a process: how it starts, what it refuses, how it ends. */
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ExecutorKind } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { TestClient } from "./support/client.js";
import {
  type Command,
  END_MS,
  logOf,
  type Role,
  Sandbox,
  TEST_DEVICE,
  whereCudaIsUnbuilt,
} from "./support/sandbox.js";

const PROMPT = "Once upon a time";

let sandbox: Sandbox;
const clients: TestClient[] = [];
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await sandbox.remove();
});

function connect(address: string): TestClient {
  const client = new TestClient(address);
  clients.push(client);
  return client;
}

function count(role: Role): number {
  return sandbox.processes().filter((process) => process.role === role).length;
}

/** Sends the signal and expects an orderly end in time. */
async function expectEnd(command: Command, signal: NodeJS.Signals): Promise<void> {
  const startMs = performance.now();
  command.kill(signal);
  const { code, stderr } = await command.ended;
  expect(performance.now() - startMs).toBeLessThan(END_MS);
  expect(stderr).not.toMatch(/"level":[56]0/);
  expect(code).toBe(0);
  expect(sandbox.leftovers()).toEqual([]);
}

describe("ends in time and leaves nothing behind", () => {
  test("SIGINT while idle, with a client connected", async () => {
    const { command, address } = await sandbox.serve("--gpu", "host");
    expect(command.stdout).toMatch(/^\{"ready":"127\.0\.0\.1:[1-9]\d*"\}\n$/);
    await connect(address).service.unary("getModel", {}, { deadlineMs: 5000, signal: null });
    await expectEnd(command, "SIGINT");
  });

  test("SIGTERM in the middle of a generation, which ends with UNAVAILABLE and a sentence", async () => {
    const { command, address } = await sandbox.serve("--gpu", "host");
    const call = connect(address).start({ prompt: PROMPT, ignoreEos: true });
    await call.tokens(3);
    await expectEnd(command, "SIGTERM");
    expect((await call.outcome).error).toMatchObject({
      code: "UNAVAILABLE",
      message: "the server is shutting down",
    });
  });

  test("SIGINT while it starts its executors", async () => {
    const command = sandbox.thermocline("serve", "--listen", "127.0.0.1:0", "--gpu", "host");
    await sandbox.untilThere("gpu-executor");
    await expectEnd(command, "SIGINT");
    expect(command.stdout).toBe("");
  });

  test("a Unix socket goes with it; one that a killed server left is taken over, a living one's is not", async () => {
    const path = join(sandbox.path, "s.sock");
    const args = ["--gpu", "off", "--listen", `unix:${path}`];
    const killed = await sandbox.serve(...args);
    killed.command.kill("SIGKILL");
    await killed.command.ended;
    expect(existsSync(path)).toBe(true);

    const { command, address } = await sandbox.serve(...args);
    expect(address).toBe(`unix:${path}`);
    const second = await sandbox.run("serve", ...args);
    expect(second.stderr).toMatch(
      /^thermocline: cannot listen at unix:.*something else listens there; free it or/m,
    );
    expect(second.code).toBe(1);
    expect(await connect(address).text({ prompt: PROMPT, maxTokens: 3 })).toBe(", there was");
    await expectEnd(command, "SIGTERM");
  });

  test("SIGKILL takes the executors along", async () => {
    const { command } = await sandbox.serve("--gpu", "host");
    command.kill("SIGKILL");
    await command.ended;
    await sandbox.untilClean(END_MS);
  });
});

describe("what is started", () => {
  test.skipIf(TEST_DEVICE === "cuda")(
    "--gpu auto says in one line that there is no GPU and what runs instead",
    async () => {
      const server = await sandbox.serve();
      const lines = logOf(server).filter(({ msg }) => /GPU/.test(String(msg)));
      expect(lines).toMatchObject([
        {
          level: 40,
          msg: expect.stringMatching(
            /^(no GPU was found|this build has no CUDA device.*): everything runs on the CPU/,
          ),
        },
      ]);
      expect([count("gpu-executor"), count("cpu-executor")]).toEqual([0, 1]);
    },
  );

  test("--cpu-executors 3 beside a GPU executor with a budget: the placement says who holds what", async () => {
    const { address } = await sandbox.serve(
      ...["--gpu", "host", "--cpu-executors", "3", "--vram-budget", "4MiB", "--slots", "2"],
    );
    expect([count("gpu-executor"), count("cpu-executor")]).toEqual([1, 3]);
    const { service } = connect(address);
    const placement = await service.unary("getPlacement", {}, { deadlineMs: 5000, signal: null });
    expect(placement.policy).toBe("profile");
    expect(placement.executors.map(({ name, kind, device }) => ({ name, kind, device }))).toEqual([
      { name: "gpu-executor", kind: ExecutorKind.GPU, device: TEST_DEVICE },
      { name: "cpu-executor-0", kind: ExecutorKind.CPU, device: "cpu" },
      { name: "cpu-executor-1", kind: ExecutorKind.CPU, device: "cpu" },
      { name: "cpu-executor-2", kind: ExecutorKind.CPU, device: "cpu" },
    ]);
    const [gpu] = placement.executors;
    expect(gpu?.budgetBytes).toBe(BigInt(4 * 1024 ** 2));
    const held = (gpu?.weightBytes ?? 0n) + (gpu?.kvCacheBytes ?? 0n) + (gpu?.scratchBytes ?? 0n);
    expect(held).toBeGreaterThan(0n);
    expect(held).toBeLessThanOrEqual(gpu?.budgetBytes ?? 0n);
    expect(placement.layers).toHaveLength(5);
    for (const { neurons } of placement.layers) {
      expect(neurons).toHaveLength(4);
      expect(neurons.reduce((sum, each) => sum + each)).toBe(768);
    }
    // What another device measures decides what it is given.
    for (const executor of TEST_DEVICE === "host" ? [0, 1, 2, 3] : []) {
      expect(Math.max(...placement.layers.map(({ neurons }) => neurons[executor] ?? 0))).toBeGreaterThan(0);
    }
  });
});

describe("what cannot be started is said in one sentence, with exit code 1 and nothing left behind", () => {
  test.each<[string[], RegExp]>([
    ...whereCudaIsUnbuilt<[string[], RegExp]>([
      ["--gpu", "cuda"],
      /^thermocline: --gpu cuda: this build has no CUDA device.*\(.*\); use --gpu off, or/m,
    ]),
    [
      ["--gpu", "host", "--vram-budget", "1KiB"],
      /^thermocline: a VRAM budget of 1\.00 KiB is too small .* --gpu off$/m,
    ],
    [["--model", "none.gguf"], /^thermocline: .*none\.gguf: there is no such file; check the path$/m],
    [["--model", "package.json"], /^thermocline: .*package\.json.*$/m],
    [["--model", "models"], /^thermocline: .*models.*$/m],
    [
      ["--listen", "192.0.2.1:0", "--gpu", "off"],
      /^thermocline: cannot listen at 192\.0\.2\.1:0: .*give another --listen$/m,
    ],
  ])("serve %j", async (args, message) => {
    const { code, stdout, stderr } = await sandbox.run("serve", "--listen", "127.0.0.1:0", ...args);
    expect(stderr).toMatch(message);
    expect(stderr.match(/^[^{].*$/gm)).toHaveLength(1);
    expect(stdout).toBe("");
    expect(code).toBe(1);
    expect(sandbox.leftovers()).toEqual([]);
  });

  test("a port in use", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => other.once("listening", resolve));
    const { port } = other.address() as { port: number };
    try {
      const { code, stderr } = await sandbox.run("serve", "--listen", `127.0.0.1:${port}`, "--gpu", "off");
      expect(stderr).toMatch(
        `thermocline: cannot listen at 127.0.0.1:${port}: something else listens there; free it`,
      );
      expect(code).toBe(1);
      expect(sandbox.leftovers()).toEqual([]);
    } finally {
      other.close();
    }
  });
});
