/** A token of the configuration; programs add what else one says, such as a role. */
export interface KnownToken {
  readonly name: string;
  /** SHA-256; the token itself is not kept. */
  readonly digest: Uint8Array;
}
