/** From a text file to windows of tokens. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { readGguf } from "../../coordinator/model/gguf.js";
import type { EncodeOrder } from "../../coordinator/model/tokenizer/encoder.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { TextFile } from "../../coordinator/text/text-file.js";
import { type TextWindowsOptions, textWindows } from "../../coordinator/text/text-windows.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const tokenizer = loadTokenizer(await readGguf(bundledModelPath()));
const never = new AbortController().signal;
let files = 0;

function fileOf(content: string | Uint8Array): string {
  const path = join(folder, `${++files}.txt`);
  writeFileSync(path, content);
  return path;
}

/** The windows, and the length of every text that was tokenized for them. */
async function windowsOf(path: string, given: Partial<TextWindowsOptions> = {}) {
  const lengths: number[] = [];
  const encoder = {
    encode: async ({ text, addSpecial, parseSpecial }: EncodeOrder) =>
      tokenizer.encode(text, addSpecial, parseSpecial),
  };
  const windows = await textWindows({
    path,
    tokenizer,
    encoder,
    contextLength: 16,
    most: null,
    rest: "dropped",
    limitOption: (windows) => `--chunks ${windows}`,
    onTokenizing: (characters) => lengths.push(characters),
    signal: never,
    ...given,
  });
  return { windows, lengths };
}

const STORY =
  "A heron stood in the cold lake and waited for the fog to lift. Below it the water was dark and still; above, the " +
  "first birds had begun to sing. “Not yet,” said the heron – and closed one eye.\n";

describe("a text file", () => {
  test("is read as far as is needed, in whole characters", async () => {
    const text = STORY.repeat(2000);
    const file = await TextFile.open(fileOf(text), never);
    const start = await file.read(1000);
    expect(start.isWhole).toBe(false);
    expect(start.text.length).toBeLessThan(text.length);
    expect(text.startsWith(start.text)).toBe(true);
    expect(start.text).not.toContain("\uFFFD");
    expect(await file.read(text.length + 1)).toEqual({ text, isWhole: true });
    file.close();
  });

  test("keeps its byte order mark", async () => {
    const file = await TextFile.open(fileOf("\uFEFFa"), never);
    expect(await file.read(10)).toEqual({ text: "\uFEFFa", isWhole: true });
  });
});

describe("windows", () => {
  test("are those of the whole text's tokens, less one newline at its end", async () => {
    const tokens = tokenizer.encode(STORY.trimEnd(), true, false);
    const { windows } = await windowsOf(fileOf(STORY), { contextLength: tokens.length });
    expect(windows).toEqual([tokens]);
    const longer = await windowsOf(fileOf(`${STORY}\n`), { contextLength: tokens.length + 1 });
    expect(longer.windows).toEqual([tokenizer.encode(STORY, true, false)]);
  });

  test("begin with the token that begins every sequence", async () => {
    const { windows } = await windowsOf(fileOf(STORY.repeat(3)));
    expect(windows.length).toBeGreaterThan(2);
    expect(windows.map(([first]) => first)).toEqual(windows.map(() => tokenizer.bos));
  });

  test("what is left at the end is one, where that is asked for", async () => {
    const path = fileOf(STORY);
    const tokens = tokenizer.encode(STORY.trimEnd(), true, false);
    const [bos = -1] = tokens;
    const { windows } = await windowsOf(path, { rest: "kept" });
    expect(windows.slice(0, -1)).toEqual((await windowsOf(path)).windows);
    expect(windows.at(-1)).toEqual([bos, ...tokens.slice(16 * (windows.length - 1) + 1)]);
    const short = fileOf("Once upon a time\n");
    expect((await windowsOf(short, { rest: "kept" })).windows).toEqual([
      tokenizer.encode("Once upon a time", true, false),
    ]);
    await expect(windowsOf(fileOf("\n"), { rest: "kept" })).rejects.toThrow(
      /has 1 tokens, and a window takes 2; give a longer text$/,
    );
  });

  test("special tokens written out are text", async () => {
    const { windows } = await windowsOf(fileOf("<s></s>".repeat(20)));
    expect(windows[0]?.slice(1)).not.toContain(tokenizer.bos);
  });

  test.each([1, 3])("the first %d are the same, and little more is read for them", async (most) => {
    const path = fileOf(STORY.repeat(2000));
    const all = await windowsOf(path);
    const first = await windowsOf(path, { most });
    expect(first.windows).toEqual(all.windows.slice(0, most));
    expect(first.lengths).toHaveLength(1);
    expect(first.lengths[0]).toBeLessThan((all.lengths[0] ?? 0) / 2);
  });

  test("more of the file is read where tokens are long", async () => {
    const encode = async ({ text }: EncodeOrder) =>
      Array.from({ length: Math.floor(text.length / 100) }, () => 5);
    const options = { encoder: { encode }, contextLength: 512, most: 4 };
    const { windows, lengths } = await windowsOf(fileOf("x".repeat(400_000)), options);
    expect(windows).toHaveLength(4);
    expect(lengths.length).toBeGreaterThan(1);
    expect(lengths).toEqual([...lengths].sort((a, b) => a - b));
  });

  test("fewer than asked for are all there are", async () => {
    const path = fileOf(STORY);
    expect((await windowsOf(path, { most: 1000 })).windows).toEqual((await windowsOf(path)).windows);
  });
});

describe("refuses", () => {
  async function refusal(path: string, given: Partial<TextWindowsOptions> = {}) {
    return windowsOf(path, given).then(
      () => null,
      ({ code, message }: { code?: string; message: string }) => ({
        code,
        message: message.replace(path, "FILE"),
      }),
    );
  }

  test.each<[string, () => string, string, RegExp]>([
    [
      "a missing file",
      () => join(folder, "none"),
      "NOT_FOUND",
      /^FILE: there is no such file; check the path$/,
    ],
    ["a file's file", () => join(fileOf("a"), "b"), "NOT_FOUND", /there is no such file/],
    ["a folder", () => folder, "INVALID_ARGUMENT", /^FILE: is a folder; /],
    [
      "an empty file",
      () => fileOf(""),
      "INVALID_ARGUMENT",
      /^FILE: is empty; give a text of at least 16 tokens/,
    ],
    [
      "a text that fills no window",
      () => fileOf("Once upon a time\n"),
      "INVALID_ARGUMENT",
      /^FILE: has 5 tokens, and a window takes 16; give a longer text or a smaller --ctx$/,
    ],
    [
      "what is not UTF-8",
      () => fileOf(Uint8Array.of(0x61, 0xff, 0x61)),
      "INVALID_ARGUMENT",
      /^FILE: is not UTF-8 \(an error lies in bytes 0 to 2\); convert it, such as with iconv -t UTF-8$/,
    ],
    [
      "half a character",
      () => fileOf(Uint8Array.of(0x61, 0xc3)),
      "INVALID_ARGUMENT",
      /^FILE: is not UTF-8 \(it ends inside a character\); /,
    ],
  ])("%s", async (_, make, code, message) => {
    expect(await refusal(make())).toEqual({ code, message: expect.stringMatching(message) });
  });

  test("more text than can be tokenized at once, unless less is asked for", async () => {
    const path = fileOf(STORY.repeat(45_000));
    const message =
      /^FILE: what is to be read is longer than 8388608 characters; give less, such as with --chunks 2048, or cut/;
    const encoder = { encode: async () => [1, 2, 3] };
    const given = { contextLength: 512, encoder };
    expect(await refusal(path, given)).toEqual({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(message),
    });
    expect(await refusal(path, { ...given, most: 1e6 })).toMatchObject({ code: "INVALID_ARGUMENT" });
    expect((await windowsOf(path, { most: 2 })).windows).toHaveLength(2);
  });
});

test("ends when it is aborted", async () => {
  const control = new AbortController();
  const encoder = {
    encode: (_: EncodeOrder, signal: AbortSignal) => {
      control.abort(new Error("enough"));
      return Promise.reject(signal.reason);
    },
  };
  await expect(windowsOf(fileOf(STORY), { encoder, signal: control.signal })).rejects.toThrow("enough");
});
