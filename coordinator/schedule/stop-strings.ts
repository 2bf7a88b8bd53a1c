/** Stop strings in text that arrives in pieces. */

/**
 * Finds the first stop string to be completed, whatever borders the text was cut at, and holds back no more than may
 * yet turn out to belong to one. Of several completed by the same character the longest counts.
 *
 * One Knuth-Morris-Pratt automaton a stop string, so a character costs the same however long the strings are.
 */
export class StopStrings {
  /** Whether a stop string was met; nothing may be pushed from then on. */
  met = false;
  private held = "";
  private readonly automata: Automaton[];

  constructor(stops: readonly string[]) {
    this.automata = stops.map((stop) => new Automaton(stop));
  }

  /** Takes more text. @returns what can be let go of: all of it up to what may belong to a stop string */
  push(text: string): string {
    if (this.automata.length === 0) return text;
    const seen = this.held + text;
    let matched = 0;
    for (let index = this.held.length; index < seen.length; index++) {
      matched = 0;
      for (const automaton of this.automata) {
        const state = automaton.advance(seen.charCodeAt(index));
        if (state > matched) matched = state;
        if (state === automaton.length) this.met = true;
      }
      if (this.met) return this.cut(seen.slice(0, index + 1));
    }
    const keep = text === "" ? this.held.length : matched;
    this.held = seen.slice(seen.length - keep);
    return seen.slice(0, seen.length - keep);
  }

  /** What is still held back when the text ends here. */
  end(): string {
    const held = this.held;
    this.held = "";
    return held;
  }

  private cut(seen: string): string {
    const longest = Math.max(...this.automata.filter((one) => one.complete).map((one) => one.length));
    this.held = "";
    return seen.slice(0, seen.length - longest);
  }
}

/** Length of the longest prefix of one string that ends the text read so far. */
class Automaton {
  private state = 0;
  /** For each prefix, the length of its longest proper prefix that is also its suffix. */
  private readonly fallback: Uint32Array;

  constructor(private readonly text: string) {
    this.fallback = new Uint32Array(text.length + 1);
    for (let length = 1; length < text.length; length++) {
      let border = this.fallback[length] ?? 0;
      while (border > 0 && text.charCodeAt(border) !== text.charCodeAt(length)) {
        border = this.fallback[border] ?? 0;
      }
      this.fallback[length + 1] = text.charCodeAt(border) === text.charCodeAt(length) ? border + 1 : 0;
    }
  }

  get length(): number {
    return this.text.length;
  }

  get complete(): boolean {
    return this.state === this.text.length;
  }

  advance(character: number): number {
    while (this.state > 0 && this.text.charCodeAt(this.state) !== character) {
      this.state = this.fallback[this.state] ?? 0;
    }
    if (this.text.charCodeAt(this.state) === character) this.state++;
    return this.state;
  }
}
