import type { AppId, InstanceId } from "@dstack/core";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";

/** What evidence and request of one registration say. */
export interface Registration {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  readonly publicKey: WireGuardPublicKey;
  /** SHA-256 of the SubjectPublicKeyInfo of the caller's RA-TLS certificate, hex. */
  readonly bootKey: string;
  /** Only where this is the TLS key that the instance registered with before (E14). */
  readonly again: boolean;
  /** On which it wants to be told by the PROXY protocol who its client is. */
  readonly proxyProtocolPorts?: readonly number[];
  /** The only ones its firewall lets through the tunnel; all of them when absent. */
  readonly publicPorts?: readonly number[];
}
