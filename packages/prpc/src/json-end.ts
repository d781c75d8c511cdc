const QUOTE = 0x22;
const BACKSLASH = 0x5c;
// Comparisons, not lists: every byte of every request of a guest socket passes here.
const isOpen = (byte: number): boolean => byte === 0x7b || byte === 0x5b;
const isClose = (byte: number): boolean => byte === 0x7d || byte === 0x5d;
const isSpace = (byte: number): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

/**
 * Finds where a JSON object or array ends in UTF-8 text that arrives in pieces, one look at each byte. It does not
 * validate: text with balanced brackets is enough.
 */
export class JsonEnd {
  #offset = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** A byte above 0x7F was seen. */
  sawNonAscii = false;

  /** @returns the number of bytes up to the end of the value, over all pieces; undefined while it is incomplete */
  add(chunk: Uint8Array): number | undefined | "not_json" {
    for (const byte of chunk) {
      this.#offset += 1;
      if (byte > 0x7f) this.sawNonAscii = true;
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (isOpen(byte)) {
        this.#depth += 1;
      } else if (this.#depth === 0) {
        if (!isSpace(byte)) return "not_json";
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (isClose(byte)) {
        this.#depth -= 1;
        if (this.#depth === 0) return this.#offset;
      }
    }
    return undefined;
  }
}
