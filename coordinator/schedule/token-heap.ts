/** Tokens in the order of their logits, for those who need only the first few. */

/**
 * A binary heap of token ids: highest logit first, lowest id first among equals. Filling takes time proportional to
 * the vocabulary, each pop to its logarithm. The logits must not hold NaN, nor change before the last pop.
 */
export class TokenHeap {
  private ids = new Int32Array(0);
  private size = 0;
  private logits: Float32Array = new Float32Array(0);

  fill(logits: Float32Array): void {
    if (this.ids.length < logits.length) this.ids = new Int32Array(logits.length);
    this.logits = logits;
    this.size = logits.length;
    for (let id = 0; id < this.size; id++) this.ids[id] = id;
    for (let place = (this.size >> 1) - 1; place >= 0; place--) this.sink(place, this.idAt(place));
  }

  /** Takes the first token out; there must be one. */
  pop(): number {
    const first = this.idAt(0);
    this.size--;
    if (this.size > 0) this.sink(0, this.idAt(this.size));
    return first;
  }

  /** Puts `id` where it belongs in the subtree of `place`, whose root is free. */
  private sink(place: number, id: number): void {
    let free = place;
    for (;;) {
      let child = 2 * free + 1;
      if (child >= this.size) break;
      if (child + 1 < this.size && this.precedes(this.idAt(child + 1), this.idAt(child))) child++;
      if (!this.precedes(this.idAt(child), id)) break;
      this.ids[free] = this.idAt(child);
      free = child;
    }
    this.ids[free] = id;
  }

  private precedes(a: number, b: number): boolean {
    const left = this.logits[a] ?? 0;
    const right = this.logits[b] ?? 0;
    return left > right || (left === right && a < b);
  }

  private idAt(place: number): number {
    return this.ids[place] ?? 0;
  }
}
