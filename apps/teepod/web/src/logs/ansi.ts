/** A piece of a line in one look; `classes` are of the style sheet. */
export interface Span {
  readonly text: string;
  readonly classes: string;
}

// oxlint-disable-next-line no-control-regex -- control characters are what this is about
const SEQUENCE = /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]/g;
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * Turns a console's text into lines of spans. Colours and weights are shown; whatever else a terminal would obey is
 * left out, and marks that hide or reorder text as well. The look goes on from line to line, as on a terminal.
 */
export class AnsiLines {
  #classes = new Set<string>();

  line(text: string): Span[] {
    // A line that was written over itself shows what was written last.
    const shown = text.replace(/\r+$/, "");
    const last = shown.slice(shown.lastIndexOf("\r") + 1);
    const spans: Span[] = [];
    const push = (piece: string): void => {
      const clean = piece.replace(CONTROLS, "");
      if (clean !== "") spans.push({ text: clean, classes: [...this.#classes].join(" ") });
    };
    let at = 0;
    for (const match of last.matchAll(SEQUENCE)) {
      push(last.slice(at, match.index));
      at = match.index + match[0].length;
      if (match[2] === "m") this.#select(match[1] ?? "");
    }
    push(last.slice(at));
    return spans;
  }

  /** Select Graphic Rendition (ECMA-48 §8.3.117): the sixteen colours, bold, faint, italic, underlined. */
  #select(parameters: string): void {
    const codes = parameters.split(/[;:]/).map(Number);
    for (let i = 0; i < codes.length; i++) {
      const code = codes[i] ?? 0;
      if (code === 38 || code === 48)
        i += codes[i + 1] === 5 ? 2 : 4; // other colours: not shown
      else this.#apply(code);
    }
  }

  #apply(code: number): void {
    const set = (kind: string, name: string): void => {
      for (const old of this.#classes) if (old.startsWith(kind)) this.#classes.delete(old);
      if (name !== "") this.#classes.add(`${kind}${name}`);
    };
    if (code === 0) this.#classes.clear();
    else if (code === 1) set("weight-", "bold");
    else if (code === 2) set("weight-", "faint");
    else if (code === 22) set("weight-", "");
    else if (code === 3) set("slant-", "italic");
    else if (code === 23) set("slant-", "");
    else if (code === 4) set("line-", "under");
    else if (code === 24) set("line-", "");
    else if (code >= 30 && code <= 37) set("fg-", String(code - 30));
    else if (code >= 90 && code <= 97) set("fg-", String(code - 90));
    else if (code === 39) set("fg-", "");
    else if (code >= 40 && code <= 47) set("bg-", String(code - 40));
    else if (code >= 100 && code <= 107) set("bg-", String(code - 100));
    else if (code === 49) set("bg-", "");
  }
}
