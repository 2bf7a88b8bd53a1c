// What was measured on a card, kept so that an interruption loses nothing.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { say } from "./gpu.mjs";

/** Lines of JSON in a file. */
export class Results {
  constructor(path, card) {
    this.path = path;
    this.card = card;
    const texts = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
    /** This card's. */
    this.lines = texts.flatMap((text) => parsed(text)).filter((line) => line.card === card);
    this.known = new Set(this.lines.map(keyOf));
  }

  has(what) {
    if (!this.known.has(keyOf({ ...what, card: this.card }))) return false;
    const words = Object.values(what).filter((value) => value !== null);
    say(`already in ${this.path}: ${words.join(", ")}`);
    return true;
  }

  add(what, result) {
    const line = { ...what, card: this.card, at: new Date().toISOString(), result };
    appendFileSync(this.path, `${JSON.stringify(line)}\n`);
    this.lines.push(line);
    this.known.add(keyOf(line));
  }
}

function keyOf({ card, kind, model, sparsity, budgetGiB, peer = null }) {
  return JSON.stringify([card, kind, model, sparsity, budgetGiB, peer]);
}

/** Nothing of a line that an interruption has cut. */
function parsed(text) {
  try {
    return [JSON.parse(text)];
  } catch {
    return [];
  }
}
