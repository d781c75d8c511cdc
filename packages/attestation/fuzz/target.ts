/** A reader of bytes that strangers prepare. */
export interface Target {
  readonly name: string;
  /** Inputs to start from: good ones by the simulated platform, the same in every run. */
  readonly seeds: () => readonly Uint8Array[];
  /** Bytes that mean something to this reader: they are put into inputs. */
  readonly words?: readonly Uint8Array[];
  /**
   * Reads the input. Returns when it was taken and what came of it is sound, or throws an error of the kinds below;
   * anything else it throws is a finding.
   */
  readonly read: (input: Uint8Array) => void;
  /** The errors a refusal may be. */
  readonly refusals: readonly (abstract new (...args: never[]) => Error)[];
  /** Longest input that is tried. Default 16 KiB. */
  readonly maxBytes?: number;
}

/** What came out of a reader is not what it promises: a finding. */
export class Unsound extends Error {
  override name = "Unsound";
}

export function require(sound: boolean, what: string): void {
  if (!sound) throw new Unsound(what);
}

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
export const fromHex = (digits: string): Uint8Array => new Uint8Array(Buffer.from(digits, "hex"));
export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;
