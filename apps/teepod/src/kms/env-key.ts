import { X509Certificate } from "node:crypto";
import { checkServerIdentity } from "node:tls";
import { x509FromDer } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { kms } from "@dstack/proto";
import { RpcError, createClient, httpTransport } from "@dstack/prpc";
import { Agent } from "undici";

/** The key an app's environment is encrypted to, as the KMS answered it. */
export interface EnvKey {
  /** X25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** The KMS root's signature, for the caller to check; empty from a KMS that does not sign. */
  readonly rootSignature: Uint8Array;
}

/** Asks the KMS for the key an app's environment is encrypted with. */
export interface EnvKeySource extends AsyncDisposable {
  envKey(appId: AppId, signal: AbortSignal): Promise<EnvKey>;
}

const LIMIT_MS = 10_000;

/** The host as QEMU's user-mode network shows it to guests; the host itself knows it as loopback. */
export function kmsUrlOfHost(kmsUrl: string): string {
  const url = new URL(kmsUrl);
  if (url.hostname === "10.0.2.2") url.hostname = "127.0.0.1";
  return url.href;
}

/**
 * A client of the KMS that trusts its root CA and nothing else.
 *
 * That CA also issues every app's CA, and an app can make certificates for any name below its own. So the name is
 * not enough: the KMS's own certificate must be issued by the root itself.
 * @param caPem the KMS root CA
 */
export function kmsEnvKeys(kmsUrl: string, caPem: string): EnvKeySource {
  const root = new X509Certificate(caPem);
  const agent = new Agent({
    connect: {
      ca: caPem,
      timeout: LIMIT_MS,
      checkServerIdentity: (host, certificate) => {
        const mismatch = checkServerIdentity(host, certificate);
        if (mismatch !== undefined) return mismatch;
        if (x509FromDer(certificate.raw).verify(root.publicKey)) return undefined;
        return new Error("the server's certificate is not issued by the KMS root CA itself");
      },
    },
    headersTimeout: LIMIT_MS,
    bodyTimeout: LIMIT_MS,
  });
  const client = createClient(kms.KMS, httpTransport({ baseUrl: kmsUrl, dispatcher: agent }));
  return {
    async envKey(appId, signal) {
      const { publicKey, rootSignature } = await client.getAppEnvEncryptPubKey({ appId }, { signal });
      if (publicKey.length !== 32)
        throw new RpcError("unavailable", "the KMS answered with a key of a wrong length");
      return { publicKey, rootSignature };
    },
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}
