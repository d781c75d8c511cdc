import type { CaOptions } from "./ca/certificate-authority.js";
import { ClusterError } from "./errors.js";
import type { CredentialsFile } from "./store/credentials.js";

/** An account that a node of the cluster orders with. */
export interface SharedAccount {
  /** URL of the CA's ACME directory. */
  directory: string;
  uri: string;
  /** The node that said so. */
  node: string;
}

/**
 * Machines that keep certificates for the same names, each with a key of its own and all with the same accounts. What
 * the others say is believed only in so far as it can hold us up: it never gets into an order or a CAA record.
 */
export interface Cluster {
  /** The name of this machine. */
  readonly node: string;
  /** Who is at work on the names now. */
  readonly leader: string | undefined;
  /** Why the others cannot be heard now. */
  readonly trouble: string | undefined;
  /**
   * Does work while none of the others does its own; waits for one that does. What they have published is known then.
   * @param work must end soon when its signal aborts: another one may begin then
   * @throws {ClusterError} `unavailable`, `busy`, `lost`; what work throws; the signal's reason
   */
  lead<T>(work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T>;
  /** What has been published, as far as it is known. @throws {ClusterError} `another_account`: it cannot be read */
  accounts(): SharedAccount[];
  /** @throws {ClusterError} `unavailable` */
  publish(accounts: readonly Pick<SharedAccount, "directory" | "uri">[]): Promise<void>;
}

/**
 * CAA records name one account of a CA: a node with another one would lock the others out, or itself.
 * @throws {ClusterError} `another_account`, with what to do
 */
export function refuseOtherAccounts(
  cluster: Cluster,
  credentials: CredentialsFile,
  cas: readonly CaOptions[],
): void {
  for (const { directory, uri, node } of cluster.accounts()) {
    const ca = cas.find((known) => known.directory === directory);
    const own = credentials.get(directory)?.uri;
    if (ca === undefined || own === uri) continue;
    throw new ClusterError(
      "another_account",
      `${node} orders from CA ${ca.name} with account ${uri}, this node has ${own ?? "none yet"}. ` +
        `Copy credentials.json of ${node} to ${credentials.path}`,
    );
  }
}
