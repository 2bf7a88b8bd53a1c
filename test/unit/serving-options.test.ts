/** The options that `serve` and `generate` share, from the command line to what a stack is told. */
import { resolve } from "node:path";
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { addServingOptions, parseServingOptions } from "../../coordinator/cli/serving-options.js";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import type { StackOptions } from "../../coordinator/stack.js";

function parse(...args: string[]): StackOptions {
  const command = addServingOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr: () => undefined });
  return parseServingOptions(command.parse(args, { from: "user" }).opts());
}

test("nothing given: the bundled model, whatever device there is, one CPU executor", () => {
  expect(parse()).toEqual({
    modelPath: bundledModelPath(),
    activation: null,
    reluThreshold: null,
    predictor: "auto",
    gpu: "auto",
    vramBudgetBytes: null,
    cpuExecutors: 1,
    repack: true,
    placementPath: null,
    profilePath: null,
    threads: null,
    contextLength: null,
    slots: 4,
    rePlacement: true,
    executorAddresses: [],
    otlpEndpoint: null,
    traceRatio: 1,
    liveProfile: null,
  });
});

test("everything given", () => {
  expect(
    parse(
      ...["--model", "a.gguf", "--activation", "relu2", "--relu-threshold", "0.01", "--predictor", "-2.5"],
      ...["--gpu", "host", "--vram-budget", "1.5GiB"],
      ...["--cpu-executors", "3", "--threads", "12", "--no-repack", "--ctx", "512", "--slots", "8"],
      ...["--re-placement", "off", "--profile", "hot.gguf"],
      ...["--otlp-endpoint", "http://127.0.0.1:4317", "--trace-ratio", "0.25"],
    ),
  ).toEqual({
    modelPath: "a.gguf",
    activation: "relu2",
    reluThreshold: 0.01,
    predictor: { threshold: -2.5 },
    gpu: "host",
    vramBudgetBytes: 1.5 * 1024 ** 3,
    cpuExecutors: 3,
    threads: 12,
    repack: false,
    placementPath: null,
    profilePath: resolve("hot.gguf"),
    contextLength: 512,
    slots: 8,
    rePlacement: false,
    executorAddresses: [],
    otlpEndpoint: "http://127.0.0.1:4317",
    traceRatio: 0.25,
    liveProfile: null,
  });
});

test("a placement to follow is instead of a profile", () => {
  expect(parse("--placement", "plan.json").placementPath).toBe(resolve("plan.json"));
  expect(() => parse("--placement", "plan.json", "--profile", "hot.gguf")).toThrow(
    /'--profile <file>' cannot be used with option '--placement <file>'/,
  );
});

test.each([
  ["auto", "auto"],
  ["on", "on"],
  ["off", "off"],
  ["0", { threshold: 0 }],
  ["-1e30", { threshold: -1e30 }],
  ["+.5", { threshold: 0.5 }],
])("--predictor %s", (text, use) => {
  expect(parse("--predictor", text).predictor).toEqual(use);
});

describe("a value out of its range is refused with the option, the value and the range", () => {
  test.each([
    ["--relu-threshold", "-0.01", /^--relu-threshold is "-0.01"; give a number from 0 to 1000000$/],
    ["--relu-threshold", "NaN", /from 0 to 1000000$/],
    ["--relu-threshold", "1e39", /from 0 to 1000000$/],
    ["--predictor", "maybe", /^--predictor is "maybe"; give auto, on, off, or a number, such as -2\.5$/],
    ["--predictor", "1e39", /^--predictor is "1e39"/],
    ["--predictor", "-", /^--predictor is "-"/],
    ["--cpu-executors", "0", /^--cpu-executors is "0"; give a whole number from 1 to 64$/],
    ["--cpu-executors", "65", /from 1 to 64$/],
    ["--threads", "two", /^--threads is "two"; give a whole number from 1 to 1024$/],
    ["--threads", "0", /from 1 to 1024$/],
    ["--threads", "1.5", /from 1 to 1024$/],
    ["--threads", "", /^--threads is ""; /],
    ["--ctx", "1", /^--ctx is "1"; give a whole number from 2 to 1048576$/],
    ["--ctx", "0x10", /from 2 to/],
    ["--slots", "-1", /^--slots is "-1"; give a whole number from 1 to 256$/],
    ["--slots", "1e1", /from 1 to 256$/],
    ["--vram-budget", "much", /^--vram-budget is "much"; give a size such as/],
    ["--vram-budget", "0", /^--vram-budget is "0"; give at least one byte, or --gpu off/],
    ["--otlp-endpoint", "localhost:4317", /^--otlp-endpoint is "localhost:4317"; give the URL/],
    ["--otlp-endpoint", "collector", /such as http:\/\/127\.0\.0\.1:4317$/],
    ["--trace-ratio", "1.1", /^--trace-ratio is "1.1"; give a number from 0 to 1$/],
    ["--trace-ratio", "NaN", /from 0 to 1$/],
    ["--trace-ratio", "", /from 0 to 1$/],
  ])("%s %j", (option, value, message) => {
    expect(() => parse(option, value)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });

  test("all of them in one sentence", () => {
    expect(() => parse("--slots", "0", "--threads", "0")).toThrow(/^--threads is .*; --slots is /);
  });

  test.each([
    ["--gpu", "metal"],
    ["--activation", "gelu"],
  ])("%s %s is not among the choices", (option, value) => {
    expect(() => parse(option, value)).toThrow(/Allowed choices are/);
  });
});
