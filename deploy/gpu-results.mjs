// What was measured on a card, kept so that an interruption loses nothing.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { say } from "./gpu.mjs";

/** Lines of JSON in a file. */
export class Results {
  constructor(path, card) {
    this.path = path;
    this.card = card;
    const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
    // An interruption may have cut the last one.
    this.known = new Set(lines.flatMap((line) => keyIn(line)));
  }

  has(what) {
    if (!this.known.has(keyOf({ ...what, card: this.card }))) return false;
    say(`already in ${this.path}: ${Object.values(what).join(", ")}`);
    return true;
  }

  add(what, result) {
    const line = { ...what, card: this.card, at: new Date().toISOString(), result };
    appendFileSync(this.path, `${JSON.stringify(line)}\n`);
    this.known.add(keyOf(line));
  }
}

function keyOf({ card, kind, model, sparsity, budgetGiB }) {
  return JSON.stringify([card, kind, model, sparsity, budgetGiB]);
}

function keyIn(line) {
  try {
    return [keyOf(JSON.parse(line))];
  } catch {
    return [];
  }
}
