/** Texts that are tokenized on a thread of their own. Its code is the compiled one: a thread loads no TypeScript. */
import { appendFileSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { readGguf } from "../../coordinator/model/gguf.js";
import { Encoder } from "../../coordinator/model/tokenizer/encoder.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const ENTRY = pathToFileURL(
  join(import.meta.dirname, "../../dist/coordinator/model/tokenizer/encode-worker.js"),
);
const LONG = "Once upon a time there was a lake. ".repeat(200);
const folder = temporaryFolder();
const file = await readGguf(bundledModelPath());
const tokenizer = loadTokenizer(file);

function never() {
  return new AbortController().signal;
}

function order(text: string, addSpecial = true) {
  return { text, addSpecial, parseSpecial: true };
}

function open(entry = ENTRY, source: { path: string; fileBytes: number } = file) {
  const onLoop: string[] = [];
  const watched = {
    encode(...args: Parameters<typeof tokenizer.encode>) {
      onLoop.push(args[0]);
      return tokenizer.encode(...args);
    },
  };
  const encoder = new Encoder(watched, source, entry);
  onTestFinished(() => encoder.close());
  return { encoder, onLoop };
}

test("long texts give the tokens they would give here, and leave the event loop alone", async () => {
  const { encoder, onLoop } = open();
  const texts = [LONG, `${LONG}</s>漢字 😀`, "a".repeat(5000)];
  const tokens = await Promise.all(texts.map((text) => encoder.encode(order(text), never())));
  expect(tokens).toEqual(texts.map((text) => tokenizer.encode(text, true, true)));
  expect(await encoder.encode(order(LONG, false), never())).toEqual(tokenizer.encode(LONG, false, true));
  expect(onLoop).toEqual([]);
});

test("short texts need no thread", async () => {
  const { encoder, onLoop } = open(new URL("file:///nothing/here.js"));
  expect(await encoder.encode(order("Once"), never())).toEqual(tokenizer.encode("Once", true, true));
  expect(onLoop).toEqual(["Once"]);
});

test("a text that is given up, at work or waiting, keeps no other from its tokens", async () => {
  const { encoder } = open();
  const stop = new AbortController();
  const reason = new Error("enough");
  const given = [encoder.encode(order(LONG), stop.signal), encoder.encode(order(LONG), stop.signal)];
  const kept = encoder.encode(order(LONG, false), never());
  stop.abort(reason);
  for (const one of given) await expect(one).rejects.toBe(reason);
  await expect(encoder.encode(order("a"), stop.signal)).rejects.toBe(reason);
  expect(await kept).toEqual(tokenizer.encode(LONG, false, true));
});

test("too many at once are refused with the number", async () => {
  const { encoder } = open();
  const waiting = Array.from({ length: 65 }, () => encoder.encode(order(LONG), never()));
  const outcomes = Promise.allSettled(waiting);
  await expect(encoder.encode(order(LONG), never())).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    message: expect.stringMatching(/^64 texts of more than 4096 characters already wait/),
  });
  await encoder.close();
  for (const outcome of await outcomes) {
    if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "UNAVAILABLE" });
  }
  await expect(encoder.encode(order(LONG), never())).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("a model file that was replaced is not believed", async () => {
  const path = join(folder, "model.gguf");
  copyFileSync(bundledModelPath(), path);
  const { encoder } = open(ENTRY, { path, fileBytes: file.fileBytes });
  appendFileSync(path, "x");
  await expect(encoder.encode(order(LONG), never())).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: `${path} has ${file.fileBytes + 1} bytes, and had ${file.fileBytes} when the server started; restart the server`,
  });
});

test("a lost thread fails the texts it had, and the next text gets a new one", async () => {
  const { encoder } = open(new URL("data:text/javascript,process.exit(3)"));
  for (let attempt = 0; attempt < 2; attempt++) {
    await expect(encoder.encode(order(LONG), never())).rejects.toMatchObject({
      code: "INTERNAL",
      message: "the thread that tokenizes long texts was lost: it exited with code 3",
    });
  }
});
