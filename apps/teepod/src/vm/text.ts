// Escape sequences a terminal would act on: CSI, OSC and the other string sequences, and two-character escapes.
const ANSI =
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]/g;

// Control characters, and the marks that reorder or hide text on a screen.
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

// oxlint-disable-next-line no-control-regex
const CONTROLS_BUT_LINES =
  /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;

/** Text from a guest as one harmless line of at most `maxLength` characters. */
export function cleanLine(text: string, maxLength: number): string {
  // Cut before cleaning too: the expressions need not run over megabytes.
  const clean = text
    .slice(0, 8 * maxLength)
    .replaceAll(ANSI, "")
    .replaceAll(CONTROLS, " ")
    .trim();
  return clean.length <= maxLength ? clean : `${clean.slice(0, maxLength - 1)}…`;
}

/** Text from a guest without escape sequences and control characters; line ends and tabs stay. */
export function stripTerminal(text: string): string {
  return text.replaceAll(ANSI, "").replaceAll(CONTROLS_BUT_LINES, "");
}

/** Longest escape sequence that is waited for; a guest could otherwise hold its output back for ever. */
const MAX_SEQUENCE = 512;

// oxlint-disable-next-line no-control-regex
const COMPLETE =
  /^(?:\x1b\[[0-?]*[ -/]*[^0-?\x20-\x2f]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b)|\x1b[ -/]*[^ -/[\]PX^_])/;

/** Strips a stream of bytes that breaks anywhere: inside a character or an escape sequence. */
export class TerminalStripper {
  readonly #decoder = new TextDecoder();
  #carry = "";

  /** The harmless text of the next bytes. */
  push(bytes: Uint8Array): string {
    const text = this.#carry + this.#decoder.decode(bytes, { stream: true });
    const start = text.lastIndexOf("\x1b");
    const whole =
      start === -1 || text.length - start > MAX_SEQUENCE || COMPLETE.test(text.slice(start))
        ? text.length
        : start;
    this.#carry = text.slice(whole);
    return stripTerminal(text.slice(0, whole));
  }
}
