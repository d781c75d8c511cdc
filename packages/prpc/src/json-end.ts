const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN = [0x7b, 0x5b];
const CLOSE = [0x7d, 0x5d];
const SPACE = [0x20, 0x09, 0x0a, 0x0d];

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
      } else if (OPEN.includes(byte)) {
        this.#depth += 1;
      } else if (this.#depth === 0) {
        if (!SPACE.includes(byte)) return "not_json";
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (CLOSE.includes(byte)) {
        this.#depth -= 1;
        if (this.#depth === 0) return this.#offset;
      }
    }
    return undefined;
  }
}
