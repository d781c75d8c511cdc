import { join } from "node:path";
import { InputError, assertNever } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { FileStore, openEtcd } from "@dstack/store";
import type { Store } from "@dstack/store";
import type { TproxyConfig } from "./config.js";
import { restoredRegistrations } from "./registry/restore.js";

/** Twice what a node writes down of 65,536 instances with all their records. */
const MAX_RECORDS_BYTES = 128 * 2 ** 20;

/**
 * Opens the store that is configured.
 * @throws {InputError} a file that cannot be used
 * @throws {StoreError} etcd cannot be reached, and this node has not been in the cluster before
 */
export async function openStore(config: TproxyConfig, log: Logger): Promise<Store> {
  const { store, etcd, node, state_dir: directory } = config;
  switch (store) {
    case "file":
      return FileStore.open(join(directory, "store.jsonl"), node);
    case "etcd":
      if (etcd === undefined) throw new InputError('store = "etcd" needs [etcd]');
      return openEtcd(etcd, {
        node,
        snapshotPath: join(directory, "etcd-snapshot.json"),
        maxBytes: MAX_RECORDS_BYTES,
        restore: (known, there) => restoredRegistrations(known, there, Math.floor(Date.now() / 1000)),
        log,
      });
    default:
      return assertNever(store);
  }
}
