import { InputError, errorMessage, readRegularFile } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { EtcdConfig } from "./etcd-config.js";
import type { Restore } from "./etcd-history.js";
import { SnapshotFile } from "./snapshot-file.js";
import type { Store } from "./store.js";

const MAX_PEM_BYTES = 256 * 1024;
const MAX_PASSWORD_BYTES = 4_096;

export interface EtcdOptions {
  /** The name of this node. */
  readonly node: string;
  /** File for what was known last, for a start while etcd cannot be reached. */
  readonly snapshotPath: string;
  /** All records together are no larger, or they are not read. */
  readonly maxBytes: number;
  /** What is written again into an etcd that was replaced, or restored from an earlier state. */
  readonly restore?: Restore;
  readonly log: Logger;
}

/**
 * Opens the store that `[etcd]` names. etcd's client takes a while to load and is loaded here only.
 * @throws {InputError} a file that cannot be used
 * @throws {StoreError} etcd cannot be reached, and this node has not been in the cluster before
 */
export async function openEtcd(config: EtcdConfig, options: EtcdOptions): Promise<Store> {
  const { endpoints, prefix, ca, cert, key, username, password_file: passwordFile } = config;
  const { EtcdStore } = await import("./etcd-store.js");
  return EtcdStore.open({
    endpoints,
    prefix,
    ...(ca === undefined ? {} : { ca: await read("ca", ca, MAX_PEM_BYTES) }),
    ...(cert === undefined ? {} : { cert: await read("cert", cert, MAX_PEM_BYTES) }),
    ...(key === undefined ? {} : { key: await read("key", key, MAX_PEM_BYTES) }),
    ...(username === undefined || passwordFile === undefined
      ? {}
      : {
          auth: {
            username,
            password: (await read("password_file", passwordFile, MAX_PASSWORD_BYTES)).toString("utf8").trim(),
          },
        }),
    maxBytes: options.maxBytes,
    restore: options.restore,
    node: options.node,
    snapshot: new SnapshotFile(options.snapshotPath),
    log: options.log,
  });
}

async function read(what: string, path: string, maxBytes: number): Promise<Buffer> {
  try {
    return Buffer.from(await readRegularFile(path, maxBytes));
  } catch (err) {
    throw new InputError(`[etcd] ${what}: ${errorMessage(err)}`, { cause: err });
  }
}
