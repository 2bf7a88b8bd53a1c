// Calls Generate from outside with `buf curl`, a gRPC client that gets the schema from the server's reflection.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const BUF = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), "node_modules/.bin/buf");
const METHOD = "thermocline.v1.InferenceService/Generate";
const DEADLINE_S = 60;

/** @throws Error when the client is not installed */
export function checkClient() {
  if (!existsSync(BUF)) throw new Error(`${BUF} is missing: run npm ci`);
}

/**
 * @param {number} port of the server on 127.0.0.1
 * @param {object} request a GenerateRequest as JSON
 * @param {{onToken?: (tokens: number) => void, deadlineS?: number}} [options] `onToken` is called at each token with
 *   how many came so far
 * @returns {Promise<{text: string, tokens: number, summary: object | null, error: {code: string, message: string} | null}>}
 *   what came, and the status if it was not OK
 */
export function generate(port, request, { onToken = () => undefined, deadlineS = DEADLINE_S } = {}) {
  const url = `http://127.0.0.1:${port}/${METHOD}`;
  const options = ["--protocol", "grpc", "--http2-prior-knowledge", "--timeout", `${deadlineS}s`];
  const child = spawn(BUF, ["curl", ...options, "--data", JSON.stringify(request), url], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const result = { text: "", tokens: 0, summary: null, error: null };
  onMessages(child.stdout, ({ token, summary }) => {
    if (token !== undefined) {
      result.text += token.text ?? "";
      onToken(++result.tokens);
    }
    if (summary !== undefined) {
      result.text += summary.text ?? "";
      result.summary = summary;
    }
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (chunk) => {
    stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode) => {
      if (exitCode !== 0) result.error = parseStatus(stderr);
      resolve(result);
    });
  });
}

/** `buf curl` prints each message as indented JSON; only its last line begins with its closing brace. */
function onMessages(stream, onMessage) {
  let rest = "";
  stream.setEncoding("utf8").on("data", (chunk) => {
    const messages = (rest + chunk).split(/(?<=^\}\n)/m);
    rest = messages.at(-1)?.endsWith("}\n") ? "" : (messages.pop() ?? "");
    for (const message of messages) onMessage(JSON.parse(message));
  });
}

/** The status the server sent, or what the client says when it reached none. */
function parseStatus(stderr) {
  try {
    const { code, message } = JSON.parse(stderr);
    return { code, message };
  } catch {
    return { code: "none", message: stderr.trim() };
  }
}
