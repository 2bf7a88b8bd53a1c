/** Tokens that are found in a text as they stand, before the text is split into ordinary ones. */
import { TOKEN_TYPES, type Vocabulary } from "./vocabulary.js";

interface TrieNode {
  children: Map<string, TrieNode>;
  token: number | null;
}

/** Finds tokens by their exact text: the leftmost first, the longest of those that begin at the same place. */
class ExactTokens {
  private readonly root: TrieNode = { children: new Map(), token: null };

  add(text: string, token: number): void {
    let node = this.root;
    for (const unit of text.split("")) {
      let child = node.children.get(unit);
      if (child === undefined) {
        child = { children: new Map(), token: null };
        node.children.set(unit, child);
      }
      node = child;
    }
    node.token = token;
  }

  /** Cuts `text` into tokens (numbers) and the stretches between them (strings, none empty). */
  split(text: string): (string | number)[] {
    const parts: (string | number)[] = [];
    let plainFrom = 0;
    for (let at = 0; at < text.length; ) {
      const match = this.longestAt(text, at);
      if (match === null) {
        at++;
        continue;
      }
      if (at > plainFrom) parts.push(text.slice(plainFrom, at));
      parts.push(match.token);
      at = match.end;
      plainFrom = at;
    }
    if (plainFrom < text.length) parts.push(text.slice(plainFrom));
    return parts;
  }

  private longestAt(text: string, start: number): { token: number; end: number } | null {
    let longest: { token: number; end: number } | null = null;
    let node: TrieNode | undefined = this.root;
    for (let at = start; at < text.length; at++) {
      node = node.children.get(text.charAt(at));
      if (node === undefined) break;
      if (node.token !== null) longest = { token: node.token, end: at + 1 };
    }
    return longest;
  }
}

/** User-defined tokens are always found in a text; control tokens only where the caller trusts it. */
export class SpecialTokens {
  private readonly userDefined = new ExactTokens();
  private readonly all = new ExactTokens();

  constructor(vocabulary: Vocabulary) {
    vocabulary.tokens.forEach((text, token) => {
      if (text === "") return;
      const type = vocabulary.types[token];
      if (type === TOKEN_TYPES.userDefined) this.userDefined.add(text, token);
      if (type === TOKEN_TYPES.userDefined || type === TOKEN_TYPES.control || type === TOKEN_TYPES.unknown) {
        this.all.add(text, token);
      }
    });
  }

  /** Cuts `text` into tokens (numbers) and the stretches between them (strings, none empty). */
  split(text: string, parseSpecial: boolean): (string | number)[] {
    return (parseSpecial ? this.all : this.userDefined).split(text);
  }
}
