import { InputError, errorMessage, parseAppId, parseInstanceId, readRegularFile } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { loadP256 } from "@dstack/ra-tls";
import { parsePrivateKey } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPrivateKey } from "@dstack/wireguard-tools-wrapper";
import { z } from "zod";

/** In the run directory: in memory, for root alone, and gone with this boot. */
export const SAVED_TUNNEL = "tunnel.json";
const MAX_FILE_BYTES = 64 * 1024;

/**
 * What it takes to register again. The TLS key is what tells this VM from its containers: they can have any quote made,
 * but tproxy remembers the key that the VM registered with before they ran (docs/decisions/registering-again.md).
 */
export interface SavedTunnel {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  /** PEM, of the boot certificate. */
  readonly tlsKey: string;
  readonly wireguardKey: WireGuardPrivateKey;
  /** tproxy's certificates must chain to it: the CA that is measured as `ca-cert-hash`. */
  readonly caPem: string;
  /** Of the app's compose: on which it wants to be told who its client is. */
  readonly proxyProtocolPorts: readonly number[];
  /** Of the app's compose: on which it is reached through the tunnel; undefined for all. */
  readonly publicPorts: readonly number[] | undefined;
  /** Where to register, the first one first. */
  readonly urls: readonly string[];
}

const SavedFile = z.strictObject({
  version: z.literal(1),
  app_id: z.string().transform(parseAppId),
  instance_id: z.string().transform(parseInstanceId),
  tls_key: z.string().refine((pem) => loadP256(pem).privateKey.type === "private"),
  wireguard_key: z.string().transform(parsePrivateKey),
  ca: z.string(),
  proxy_protocol_ports: z.array(z.int()),
  public_ports: z.array(z.int()).optional(),
  urls: z.array(z.url({ protocol: /^https$/ })).min(1),
});

export function writeSavedTunnel(saved: SavedTunnel): string {
  const file: z.input<typeof SavedFile> = {
    version: 1,
    app_id: saved.appId,
    instance_id: saved.instanceId,
    tls_key: saved.tlsKey,
    wireguard_key: saved.wireguardKey,
    ca: saved.caPem,
    proxy_protocol_ports: [...saved.proxyProtocolPorts],
    public_ports: saved.publicPorts && [...saved.publicPorts],
    urls: [...saved.urls],
  };
  return JSON.stringify(file);
}

/** @throws {InputError} not what {@link writeSavedTunnel} writes; never with its content */
export async function readSavedTunnel(path: string): Promise<SavedTunnel> {
  const text = Buffer.from(await readRegularFile(path, MAX_FILE_BYTES)).toString("utf8");
  try {
    const file = SavedFile.parse(JSON.parse(text));
    return {
      appId: file.app_id,
      instanceId: file.instance_id,
      tlsKey: file.tls_key,
      wireguardKey: file.wireguard_key,
      caPem: file.ca,
      proxyProtocolPorts: file.proxy_protocol_ports,
      publicPorts: file.public_ports,
      urls: file.urls,
    };
  } catch (err) {
    throw new InputError(
      `${path} is no saved tunnel: ${err instanceof SyntaxError ? "not JSON" : errorMessage(err)}`,
    );
  }
}
