/**
 * SentencePiece's BPE segmentation: of all neighbouring pairs whose joined text is a piece, the one with the best
 * score (the leftmost of equals) is joined, until none is left. A priority queue over a linked list makes that
 * O(n log n).
 *
 * Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer", 2018.
 */

interface Bigram {
  score: number;
  /** Indices of the two symbols. */
  left: number;
  right: number;
  /** UTF-16 length of both together, by which an entry is known to be stale. */
  length: number;
}

/** A binary heap: best score first, leftmost first among equals. */
class BigramQueue {
  private readonly heap: Bigram[] = [];

  push(bigram: Bigram): void {
    const heap = this.heap;
    let at = heap.push(bigram) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || !precedes(bigram, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = bigram;
  }

  pop(): Bigram | undefined {
    const heap = this.heap;
    const best = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return best;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      let below = heap[child];
      if (below === undefined) break;
      const sibling = heap[child + 1];
      if (sibling !== undefined && precedes(sibling, below)) {
        below = sibling;
        child++;
      }
      if (!precedes(below, last)) break;
      heap[at] = below;
      at = child;
    }
    heap[at] = last;
    return best;
  }
}

function precedes(a: Bigram, b: Bigram): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}

/**
 * Cuts `text` into pieces; a character that is no piece stands alone.
 *
 * @param scoreOf score of a piece, or null for a text that is none
 */
export function mergeBigrams(text: string, scoreOf: (piece: string) => number | null): string[] {
  const starts: number[] = [];
  const lengths: number[] = [];
  let offset = 0;
  for (const character of text) {
    starts.push(offset);
    lengths.push(character.length);
    offset += character.length;
  }
  const count = starts.length;
  const previous = Int32Array.from({ length: count }, (_, index) => index - 1);
  const next = Int32Array.from({ length: count }, (_, index) => (index + 1 < count ? index + 1 : -1));
  const at = (list: ArrayLike<number>, index: number): number => list[index] ?? 0;

  const queue = new BigramQueue();
  const offer = (left: number, right: number): void => {
    if (left < 0 || right < 0) return;
    const length = at(lengths, left) + at(lengths, right);
    const score = scoreOf(text.slice(at(starts, left), at(starts, left) + length));
    if (score !== null) queue.push({ score, left, right, length });
  };

  for (let index = 1; index < count; index++) offer(index - 1, index);
  for (let bigram = queue.pop(); bigram !== undefined; bigram = queue.pop()) {
    const { left, right, length } = bigram;
    // A symbol joined to its left neighbour has length 0; one that grew no longer adds up.
    if (lengths[left] === 0 || lengths[right] === 0) continue;
    if (at(lengths, left) + at(lengths, right) !== length) continue;
    lengths[left] = length;
    lengths[right] = 0;
    const after = at(next, right);
    next[left] = after;
    if (after >= 0) previous[after] = left;
    offer(at(previous, left), left);
    offer(left, after);
  }

  const pieces: string[] = [];
  for (let index = count > 0 ? 0 : -1; index >= 0; index = at(next, index)) {
    pieces.push(text.slice(at(starts, index), at(starts, index) + at(lengths, index)));
  }
  return pieces;
}
