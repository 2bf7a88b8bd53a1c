// The stack of compose.yaml under a project name of its own, beside whatever else runs on this machine.
import { execFile, spawn, spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const DEPLOY = dirname(dirname(fileURLToPath(import.meta.url)));
const PROJECT = "thermocline-trial";
const PROJECT_LABEL = `label=com.docker.compose.project=${PROJECT}`;
const POLL_MS = 200;

export const SERVICES = ["coordinator", "gpu-executor", "cpu-executor"];

export class Stack {
  #environment;
  #compose;

  /** @param {string[]} files of deploy/, the first one and its overrides */
  static async create(files) {
    const [port, tracesPort] = await freePorts(2);
    return new Stack(files, port, tracesPort);
  }

  constructor(files, port, tracesPort) {
    this.port = port;
    this.tracesPort = tracesPort;
    const [command, ...first] = composeCommand();
    const options = files.flatMap((file) => ["-f", join(DEPLOY, file)]);
    this.#compose = [command, [...first, "-p", PROJECT, ...options]];
    this.#environment = { ...process.env, THERMOCLINE_PORT: port, THERMOCLINE_JAEGER_PORT: tracesPort };
  }

  /** Runs a compose command. @returns what it printed @throws Error with what it printed */
  compose(...args) {
    const [command, options] = this.#compose;
    return run(command, [...options, ...args], this.#environment);
  }

  /** What `docker inspect` says of a service's container. */
  async inspect(service) {
    return JSON.parse(await docker("inspect", await this.#container(service)))[0];
  }

  async isHealthy(service) {
    return (await this.inspect(service)).State.Health?.Status === "healthy";
  }

  /**
   * Makes ready to kill a service's process: starting a program in a container takes longer than a short answer.
   * @returns a function that kills it at once with SIGKILL, and resolves when the container has been restarted
   */
  async prepareKill(service) {
    const container = await this.#container(service);
    const before = (await this.inspect(service)).RestartCount;
    const killer = spawn("docker", ["exec", "-i", container, "node", "-e", KILL_WHEN_TOLD]);
    await new Promise((resolve, reject) => {
      killer.stdout.once("data", resolve);
      killer.once("error", reject);
      killer.once("close", () => reject(new Error(`can't run a program in the container of ${service}`)));
    });
    return async () => {
      killer.stdin.on("error", () => undefined).end("now\n");
      await until(`${service} is restarted`, 30_000, async () => {
        const { RestartCount, State } = await this.inspect(service);
        return RestartCount > before && State.Running;
      });
    };
  }

  /** Names of the containers, volumes and networks that are there. */
  async leftovers() {
    const lists = await Promise.all([
      docker("ps", "--all", "--filter", PROJECT_LABEL, "--format", "{{.Names}}"),
      docker("volume", "ls", "--filter", PROJECT_LABEL, "--format", "{{.Name}}"),
      docker("network", "ls", "--filter", PROJECT_LABEL, "--format", "{{.Name}}"),
    ]);
    return lists.flatMap((list) => list.split("\n")).filter((name) => name !== "");
  }

  async #container(service) {
    const label = `label=com.docker.compose.service=${service}`;
    return (await docker("ps", "--all", "--quiet", "--filter", PROJECT_LABEL, "--filter", label)).trim();
  }
}

/** Process 1 is Docker's init, whose only child from the start is ours. */
const KILL_WHEN_TOLD = `
  const [child] = require("node:fs").readFileSync("/proc/1/task/1/children", "utf8").trim().split(" ");
  process.stdin.once("data", () => process.kill(Number(child), "SIGKILL"));
  process.stdout.write("ready");`;

/** Waits until `condition` holds. @throws Error when it does not within `limitMs` */
export async function until(what, limitMs, condition) {
  for (const end = Date.now() + limitMs; ; ) {
    if (await condition()) return;
    if (Date.now() > end) throw new Error(`after ${limitMs / 1000} s it is still not so that ${what}`);
    await delay(POLL_MS);
  }
}

function composeCommand() {
  if (spawnSync("docker", ["compose", "version"]).status === 0) return ["docker", "compose"];
  if (spawnSync("docker-compose", ["version"]).status === 0) return ["docker-compose"];
  throw new Error("Docker Compose is missing: install docker-compose-plugin (or docker-compose)");
}

async function docker(...args) {
  return (await promisify(execFile)("docker", args)).stdout;
}

function run(command, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (chunk) => {
        output += chunk;
      });
    }
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${command} ${args.join(" ")} failed:\n${output}`));
    });
  });
}

/** Ports nobody listens at; they are held together, so that they differ. */
async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
