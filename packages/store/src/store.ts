import { CodedError } from "@dstack/core";

/** A record and the revision it was written at: never 0, and another one after every write. */
export interface StoreEntry {
  readonly value: string;
  readonly revision: number;
}

/** Several records, written together or not at all. At most {@link MAX_CHANGE_KEYS}. */
export interface Change {
  /** Revisions that the records must still have; 0: there must be none of that key. */
  readonly expect?: Readonly<Record<string, number>>;
  /** Values by key; undefined deletes. */
  readonly set: Readonly<Record<string, string | undefined>>;
  /** The records go when this node ends or loses the store for longer than its lease. */
  readonly leased?: boolean;
}

/** What etcd allows in one transaction unless it is told otherwise (`--max-txn-ops`). */
export const MAX_CHANGE_KEYS = 128;

/** Records by key. */
export type Records = ReadonlyMap<string, StoreEntry>;

/** The store did not answer: nothing is known about the change. The message is for the log and for callers. */
export class StoreError extends CodedError<"unavailable"> {
  override name = "StoreError";
  readonly rpcCode = "unavailable";
}

/**
 * Where the nodes of a tproxy keep what they share: records by key, each a short text. Every node has all of them in
 * memory; reading asks nobody. Two implementations, one contract (`test/store-contract.ts`): a file for one node, etcd
 * for several.
 */
export interface Store extends AsyncDisposable {
  /** The name of this node. */
  readonly node: string;
  /** Why what is read may be old, and changes are refused; undefined while all is well. */
  readonly trouble: string | undefined;
  /** Everything written until then is in what is read, Unix milliseconds; 0 where the store was not reached since the start. */
  readonly asOf: number;
  /** Aborts when records that were written `leased` before may be gone; a new signal each time. */
  readonly lease: AbortSignal;
  get(key: string): StoreEntry | undefined;
  /** Records whose keys begin so, in no particular order. */
  list(prefix: string): Iterable<readonly [key: string, entry: StoreEntry]>;
  /**
   * Makes a change that survives this process, and with etcd this machine, when it returns; `get` has it then.
   * @returns whether it was made; false when an expectation does not hold, and `get` then tells what is there
   * @throws {StoreError} nobody knows whether it was made
   */
  commit(change: Change): Promise<boolean>;
  /** Calls back after records were changed, by whichever node, with their keys. */
  onChange(listener: (keys: ReadonlySet<string>) => void): void;
}

/** The nodes that are there now: their leased records. */
export const ALIVE = "alive/";
