import type { AppId, InstanceId } from "@dstack/core";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";

/** A registered instance and what it holds. */
export interface Instance {
  readonly instanceId: InstanceId;
  readonly appId: AppId;
  readonly publicKey: WireGuardPublicKey;
  /** Its address in the tunnel, IPv4 or IPv6. */
  readonly ip: string;
  /** Unix seconds of the last registration. */
  readonly registeredAt: number;
  /** On which it is told by the PROXY protocol who its client is; none when absent. */
  readonly proxyProtocolPorts?: readonly number[];
  /** The only ones its firewall lets through the tunnel; all of them when absent. */
  readonly publicPorts?: readonly number[];
  /** An operator wants it to get no new connections. */
  readonly draining: boolean;
}
