import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { Certbot } from "@dstack/acme";
import { type Logger, ResourceStack } from "@dstack/daemon";
import { type Store, openEtcd } from "@dstack/store";
import { StoreCluster } from "./cluster.js";
import type { CertbotConfig } from "./config.js";
import { certbotOptions } from "./parts.js";

/** All records of a cluster are some hundred bytes for each domain; more is not read. */
const MAX_RECORDS_BYTES = 2 ** 20;

/** A certbot and the store that it is in, where it is one of several. */
export interface OpenCertbot extends AsyncDisposable {
  readonly certbot: Certbot;
  readonly store: Store | undefined;
}

/**
 * @throws {InputError} a file that the configuration names cannot be read
 * @throws {StoreError} etcd cannot be reached, and this node has not been in the cluster before
 */
export async function openCertbot(config: CertbotConfig, log: Logger): Promise<OpenCertbot> {
  await using stack = new ResourceStack();
  const options = certbotOptions(config, log);
  const { etcd, node, workdir } = config;
  let store: Store | undefined;
  if (etcd !== undefined && node !== undefined) {
    await mkdir(workdir, { recursive: true, mode: 0o700 });
    const snapshotPath = join(workdir, "etcd-snapshot.json");
    store = stack.use(await openEtcd(etcd, { node, snapshotPath, maxBytes: MAX_RECORDS_BYTES, log }));
    const waitMs = config.renew_timeout * 1000;
    options.cluster = new StoreCluster(store, config.domains, { waitMs, prefix: etcd.prefix, log });
  }
  const certbot = await Certbot.open(options);
  const held = stack.move();
  return { certbot, store, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}
