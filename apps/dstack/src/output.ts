import { errorMessage } from "@dstack/core";
import { styleText } from "node:util";

/** Options every command takes. */
export interface GlobalOptions {
  /** One JSON document on stdout instead of text for people. */
  json?: boolean;
  /** Directory of the local installation. */
  home?: string;
}

/** A failure to be told in one sentence, with an exit code: 1 refused or failed, 2 wrong usage or could not tell, 130 interrupted. */
export class CliError extends Error {
  override name = "CliError";
  constructor(
    message: string,
    readonly exitCode: 1 | 2 | 130 = 1,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** What really ended the work: Node wraps the reason of a signal that aborts a child process into an `AbortError`. */
export function causeOf(err: unknown): unknown {
  return err instanceof Error && err.name === "AbortError" && err.cause instanceof CliError ? err.cause : err;
}

/** Progress goes to stderr, so that stdout holds only the result. */
export class Progress {
  readonly #started = Date.now();
  #last = "";

  constructor(private readonly quiet = false) {}

  /** A new step: `[ 12.3s] starting kms`. Repeating the last text prints nothing. */
  step(text: string): void {
    if (this.quiet || text === this.#last) return;
    this.#last = text;
    const seconds = ((Date.now() - this.#started) / 1000).toFixed(1).padStart(6);
    process.stderr.write(`${styleText("dim", `[${seconds}s]`, { stream: process.stderr })} ${text}\n`);
  }

  /** Seconds since this progress began. */
  get seconds(): number {
    return (Date.now() - this.#started) / 1000;
  }
}

/** Prints a result: the value as JSON, or the text made for people. */
export function printResult(options: GlobalOptions, value: unknown, text: () => string): void {
  process.stdout.write(options.json === true ? `${JSON.stringify(value, null, 2)}\n` : `${text()}\n`);
}

/** Rows of text as columns two blanks apart, a row a line: the teepod wrote most of it. */
export function columns(given: readonly (readonly string[])[]): string {
  const rows = given.map((row) => row.map((cell) => printable(cell).replaceAll("\n", " ")));
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** One sentence for a person, whoever wrote it; `DSTACK_DEBUG=1` adds where it came from. */
export function explain(err: unknown): string {
  const stack = process.env["DSTACK_DEBUG"] === "1" && err instanceof Error ? err.stack : undefined;
  return printable(stack ?? errorMessage(err));
}

/** Line and paragraph separators, and what is not seen at all: it turns text around, or makes two names look like one. */
const UNSEEN = /[\p{Default_Ignorable_Code_Point}\u2028\u2029\ufff9-\ufffb]/gu;
/** Makes a sign before it a coloured one, as in many a console: seen, and harmless there. */
const EMOJI_STYLE = "\ufe0f";

/** Text from a VM or a daemon, made safe for a terminal: control and invisible characters are shown, line ends plain. */
export function printable(text: string): string {
  return (
    text
      // Not preceded by another: a run of them is looked at once, not from each of its places.
      .replaceAll(/(?<!\r)\r+\n/g, "\n")
      .replace(
        /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
        (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`,
      )
      .replace(UNSEEN, (c, at: number, all: string) =>
        c === EMOJI_STYLE && /\p{Extended_Pictographic}$/u.test(all.slice(Math.max(0, at - 2), at))
          ? c
          : `\\u{${c.codePointAt(0)?.toString(16)}}`,
      )
  );
}
