import type { Logger } from "@dstack/daemon";
import { StoreError } from "@dstack/store";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import type { TproxyConfig } from "../config.js";
import type { NodeRegistry } from "./nodes.js";

/**
 * Tells the other nodes what this one is. While the store is away, what it told them last has to do.
 * @throws {InputError} its addresses or its key are another node's
 */
export async function joinNodes(
  { wg, store, rpc_url: rpcUrl }: TproxyConfig,
  nodes: NodeRegistry,
  publicKey: WireGuardPublicKey,
  log: Logger,
): Promise<void> {
  const self = { publicKey, ip: wg.ip, endpoint: wg.endpoint, rpcUrl, clientRange: wg.client_ip_range };
  try {
    await nodes.join(self, store === "file");
  } catch (err) {
    if (!(err instanceof StoreError)) throw err;
    nodes.self();
    log.error({ err }, "the other nodes were not told of this start");
  }
}
