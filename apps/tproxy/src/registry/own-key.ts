import { hex, sha256 } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { NOT_THE_BOOT_KEY } from "./boots.js";
import type { Registration } from "./registration.js";
import type { InstanceRegistry } from "./registry.js";

/** What a peer's evidence and the key of its TLS connection say for a registration. */
export function identityOf(peer: VerifiedPeer): Omit<Registration, "publicKey"> {
  const { appId, instanceId, systemReady } = peer;
  return { appId, instanceId, bootKey: hex(sha256(peer.publicKeySpki)), again: systemReady };
}

/**
 * Refuses evidence that a container of the guest may have got. A guest opens its sockets after `system-ready`: from then
 * on one of its containers can have any quote made, over its own key too, and would take over the VM's name and traffic
 * (E14, for the reason of E5). Containers never had the key that the guest registered with before: who still has that
 * one may register again (docs/decisions/registering-again.md). The registry looks once more, in its transaction.
 * @throws {RpcError} `permission_denied`
 */
export function requireOwnKey(registry: InstanceRegistry, peer: VerifiedPeer): void {
  if (!peer.systemReady || registry.isBootKey(identityOf(peer))) return;
  throw new RpcError("permission_denied", NOT_THE_BOOT_KEY);
}

/**
 * Refuses the guest of another KMS. Whoever starts a VM says which app it is and which KMS it asks; that the app may run
 * this document only our KMS has decided (K2). Who runs a KMS of his own starts any document as any app, and in it reads
 * the TLS key of the boot.
 * @throws {RpcError} `permission_denied`
 */
export function requireOwnKms(kmsCaHash: string, { caCertHash }: Pick<VerifiedPeer, "caCertHash">): void {
  if (caCertHash === kmsCaHash) return;
  throw new RpcError(
    "permission_denied",
    "the guest was started with the CA certificate of another KMS than ours",
  );
}
