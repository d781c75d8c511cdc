import { join } from "node:path";
import { InputError, assertNever, errorMessage, readRegularFile } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { TproxyConfig } from "../config.js";
import { FileStore } from "./file-store.js";
import { SnapshotFile } from "./snapshot-file.js";
import type { Store } from "./store.js";

const MAX_PEM_BYTES = 256 * 1024;
const MAX_PASSWORD_BYTES = 4_096;

/**
 * Opens the store that is configured.
 * @throws {InputError} a file that cannot be used
 * @throws {StoreError} etcd cannot be reached, and this node has not been in the cluster before
 */
export async function openStore(config: TproxyConfig, log: Logger): Promise<Store> {
  const { store, state_dir: directory } = config;
  switch (store) {
    case "file":
      return FileStore.open(join(directory, "store.jsonl"), config.node);
    case "etcd":
      return openEtcd(config, log);
    default:
      return assertNever(store);
  }
}

async function openEtcd({ etcd, node, state_dir: directory }: TproxyConfig, log: Logger): Promise<Store> {
  if (etcd === undefined) throw new InputError('store = "etcd" needs [etcd]');
  // Only here: the client takes a while to load.
  const { EtcdStore } = await import("./etcd-store.js");
  const { username, password_file: passwordFile } = etcd;
  return EtcdStore.open({
    endpoints: etcd.endpoints,
    prefix: etcd.prefix,
    ...(etcd.ca === undefined ? {} : { ca: await read("ca", etcd.ca, MAX_PEM_BYTES) }),
    ...(etcd.cert === undefined ? {} : { cert: await read("cert", etcd.cert, MAX_PEM_BYTES) }),
    ...(etcd.key === undefined ? {} : { key: await read("key", etcd.key, MAX_PEM_BYTES) }),
    ...(username === undefined || passwordFile === undefined
      ? {}
      : {
          auth: {
            username,
            password: (await read("password_file", passwordFile, MAX_PASSWORD_BYTES)).toString("utf8").trim(),
          },
        }),
    node,
    snapshot: new SnapshotFile(join(directory, "etcd-snapshot.json")),
    log,
  });
}

async function read(what: string, path: string, maxBytes: number): Promise<Buffer> {
  try {
    return Buffer.from(await readRegularFile(path, maxBytes));
  } catch (err) {
    throw new InputError(`[etcd] ${what}: ${errorMessage(err)}`, { cause: err });
  }
}
