/** The command where the native addon was not built. */
import { copyFileSync, cpSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { inTime, ROOT, Sandbox } from "./support/sandbox.js";

let sandbox: Sandbox;
let main: string;
beforeEach(() => {
  sandbox = new Sandbox();
  const copy = join(sandbox.path, "copy");
  mkdirSync(copy);
  cpSync(join(ROOT, "dist"), join(copy, "dist"), { recursive: true });
  copyFileSync(join(ROOT, "package.json"), join(copy, "package.json"));
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  main = join(copy, "dist/coordinator/main.js");
});
afterEach(() => sandbox.remove());

test.each([["doctor"], ["serve", "--listen", "127.0.0.1:0", "--gpu", "off"]])(
  "%s says so in one sentence",
  async (...command) => {
    const model = command[0] === "serve" ? ["--model", bundledModelPath()] : [];
    const { code, stdout, stderr } = await inTime(
      sandbox.node(main, [...command, ...model]).ended,
      "the end",
    );
    expect(stderr).toMatch(/^thermocline: .*the native addon is not built: run `npm run setup`$/m);
    expect(stderr).not.toMatch(/^ +at /m);
    expect(stdout).toBe("");
    expect(code).toBe(1);
  },
);
