/**
 * The alphabet of byte-level BPE: every byte has a printable character, so that vocabularies are readable text.
 * Printable bytes of Latin-1 stand for themselves; the others follow from U+0100 on, in order.
 *
 * Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2's encoder).
 */

function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/** The character of each byte; 256 entries. */
export const BYTE_CHARACTERS: readonly string[] = (() => {
  let moved = 0;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isPrintable(byte) ? byte : 0x100 + moved++),
  );
})();

const CHARACTER_BYTES = new Map(BYTE_CHARACTERS.map((character, byte) => [character, byte]));
const utf8 = new TextEncoder();

/** Bytes of a text written in the alphabet; a character outside of it gives its own UTF-8. */
export function bytesOfCharacters(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    const byte = CHARACTER_BYTES.get(character);
    if (byte !== undefined) bytes.push(byte);
    else bytes.push(...utf8.encode(character));
  }
  return Uint8Array.from(bytes);
}
