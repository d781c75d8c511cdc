import type { Change, Records } from "./store.js";

/** Up to where a node knows what was written in an etcd. */
export interface History {
  /** The id of the cluster of etcd. */
  readonly cluster: string;
  readonly revision: number;
  /** Everything written until then is known, Unix milliseconds. */
  readonly asOf: number;
}

/**
 * Decides what is written again into an etcd that is another one, or of an earlier state, than this node knew.
 * @param known what this node knew last @param there what etcd has now
 * @returns changes that hold while what they are about is as it is there; another node may be faster
 */
export type Restore = (known: Records, there: Records) => readonly Change[];

/** What a node knew so long ago is nothing to write again: who came and went since, nobody says. */
const RESTORABLE_MS = 86_400_000;

/** Whether what etcd has does not follow from what was known: it was replaced, or goes on from an earlier state. */
export function isOtherHistory(known: History, now: Pick<History, "cluster" | "revision">): boolean {
  return now.cluster !== known.cluster || now.revision < known.revision;
}

/** Whether what was known is recent enough to be written again. */
export function isRestorable({ asOf }: History, now: number): boolean {
  return now - asOf <= RESTORABLE_MS;
}
