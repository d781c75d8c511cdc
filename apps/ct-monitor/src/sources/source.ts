import { CodedError } from "@dstack/core";

/** A source contradicts itself, what it said before, or what it signed. `details` go into the alert. */
export class SourceLie extends CodedError<
  | "bad_signature"
  | "fork"
  | "shrinks"
  | "false_entries"
  | "false_proof"
  | "from_the_future"
  | "stale"
  | "other_certificate"
> {
  override name = "SourceLie";
}

/** A certificate as a source has it. */
export interface Found {
  readonly der: Uint8Array;
  readonly kind: "x509" | "precert";
  /** For people: where to look it up. */
  readonly where: string;
}

/** What a source reports to while it is read. */
export interface Watch {
  /** @returns what it is; undefined when it cannot be read, which was reported where it matters */
  certificate(found: Found): { readonly ours: boolean; readonly serial: Uint8Array } | undefined;
  /** An entry that is not even a log entry. */
  unreadable(bytes: Uint8Array, where: string, why: string): void;
  /** Makes what was reported so far, and the source's place, last. */
  commit(): Promise<void>;
}

/** Somewhere issued certificates can be read. */
export interface Source {
  /** For logs, metrics and the state file. */
  readonly name: string;
  /**
   * Reads what is new, to its end.
   * @throws {SourceLie} what was reported before it stays reported
   * @throws anything else when it cannot be read now
   */
  scan(watch: Watch, signal: AbortSignal): Promise<void>;
}
