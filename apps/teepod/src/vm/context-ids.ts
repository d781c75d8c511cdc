import { VmError } from "./errors.js";

/** vsock context ids set aside for VMs: `size` ids from `start` on. */
export interface CidPool {
  readonly start: number;
  readonly size: number;
}

/**
 * The lowest free id.
 * @throws {VmError} exhausted
 */
export function allocateCid(pool: CidPool, taken: ReadonlySet<number>): number {
  for (let cid = pool.start; cid < pool.start + pool.size; cid++) {
    if (!taken.has(cid)) return cid;
  }
  throw new VmError(
    "exhausted",
    `all ${pool.size} vsock context ids of this host are taken; remove a VM first`,
  );
}
