import { deriveAppKey, deriveDiskKey, deriveEnvKey, deriveK256AppKey } from "@dstack/ra-tls";
import type { AppK256Key, DiskKeyContext, P256KeyPair, VerifiedPeer } from "@dstack/ra-tls";
import type { RootKeys } from "./root-keys.js";

/** Everything an instance of an app gets. All of it secret. */
export interface AppKeys {
  readonly app: P256KeyPair;
  readonly k256: AppK256Key;
  readonly disk: Uint8Array;
  readonly env: Uint8Array;
}

/**
 * Derives the keys of an attested instance. The same instance gets the same keys, always.
 * @param onRetry told when a derived value was no key and the next one was taken
 */
export function deriveAppKeys(
  root: RootKeys,
  peer: Pick<VerifiedPeer, "appId" | "instanceId" | "rootfsHash">,
  diskKeyMode: DiskKeyContext["mode"],
  onRetry?: (what: string, attempt: number) => void,
): AppKeys {
  const { key } = root.ca;
  const { appId, instanceId, rootfsHash } = peer;
  const disk: DiskKeyContext =
    diskKeyMode === "v1"
      ? { mode: "v1", appId, instanceId }
      : { mode: "seed", rootfsHash, appId, instanceId };
  return {
    app: deriveAppKey(key, appId, (attempt) => onRetry?.("app key", attempt)),
    k256: deriveK256AppKey(root.k256Root, appId),
    disk: deriveDiskKey(key, disk, (attempt) => onRetry?.("disk key", attempt)),
    env: deriveEnvKey(key, appId),
  };
}
