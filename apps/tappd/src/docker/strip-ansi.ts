const ESC = 0x1b;
const BEL = 0x07;
/** A string command (title, hyperlink, …) longer than this was never meant as one: it ends here. */
const MAX_STRING_COMMAND_BYTES = 4096;

type State = "text" | "escape" | "intermediate" | "csi" | "string" | "stringEscape";

/**
 * Removes terminal control sequences (ECMA-48: CSI, OSC/DCS/SOS/PM/APC strings, two-byte escapes) from a stream
 * of bytes. A sequence may be cut anywhere between two calls.
 */
export class AnsiStripper {
  #state: State = "text";
  #stringBytes = 0;

  /** The bytes of this piece that are text. */
  strip(bytes: Uint8Array): Uint8Array {
    if (this.#state === "text" && !bytes.includes(ESC)) return bytes;
    const kept = new Uint8Array(bytes.length);
    let length = 0;
    for (const byte of bytes) if (this.#isText(byte)) kept[length++] = byte;
    return kept.subarray(0, length);
  }

  #isText(byte: number): boolean {
    switch (this.#state) {
      case "text":
        if (byte !== ESC) return true;
        this.#state = "escape";
        return false;
      case "escape":
        this.#state = afterEscape(byte);
        this.#stringBytes = 0;
        return false;
      case "intermediate":
        if (byte < 0x20 || byte > 0x2f) this.#state = "text";
        return false;
      case "csi":
        // Parameters and intermediates are 0x20-0x3f, the final byte 0x40-0x7e; anything else breaks the sequence off.
        if (byte >= 0x20 && byte <= 0x3f) return false;
        this.#state = byte === ESC ? "escape" : "text";
        return byte < 0x20 && byte !== ESC;
      case "string":
        this.#stringBytes += 1;
        if (byte === ESC) this.#state = "stringEscape";
        else if (byte === BEL || byte === 0x0a || this.#stringBytes > MAX_STRING_COMMAND_BYTES)
          this.#state = "text";
        return byte === 0x0a;
      case "stringEscape":
        this.#state = byte === 0x5c ? "text" : afterEscape(byte);
        return false;
    }
  }
}

function afterEscape(byte: number): State {
  if (byte === ESC) return "escape";
  if (byte === 0x5b) return "csi"; // [
  if (byte === 0x5d || byte === 0x50 || byte === 0x58 || byte === 0x5e || byte === 0x5f) return "string"; // ] P X ^ _
  if (byte >= 0x20 && byte <= 0x2f) return "intermediate";
  return "text";
}
