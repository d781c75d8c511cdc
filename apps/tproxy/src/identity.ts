import { InputError, errorMessage, hex, readRegularFile, sha256, x509FromDer } from "@dstack/core";
import type { ServerIdentity } from "@dstack/ra-rpc";
import { pemToDer, splitPem } from "@dstack/ra-tls";
import type { TproxyConfig } from "./config.js";

const MAX_PEM_BYTES = 256 * 1024;

/** What we show to callers of the RPC listener, and whose guests may register. */
export interface TproxyIdentity extends ServerIdentity {
  /** 64 hex digits: what guests of our KMS measure as `ca-cert-hash`, SHA-256 of its root CA certificate's DER. */
  readonly kmsCaHash: string;
}

/** @throws {InputError} a file that cannot be read, or a certificate without the CA that issued it */
export async function loadIdentity(tls: TproxyConfig["tls"]): Promise<TproxyIdentity> {
  const read = async (what: string, path: string): Promise<string> => {
    try {
      return Buffer.from(await readRegularFile(path, MAX_PEM_BYTES)).toString("utf8");
    } catch (err) {
      throw new InputError(`[tls] ${what}: ${errorMessage(err)}`, { cause: err });
    }
  };
  const certChain = await read("certs", tls.certs);
  return { key: await read("key", tls.key), certChain, kmsCaHash: kmsCaHashOf(certChain, tls.certs) };
}

/** Guests only talk to a server that their KMS's root itself issued a certificate for, so that the second one is it. */
function kmsCaHashOf(certChain: string, path: string): string {
  const [own, root] = splitPem(certChain).map((pem) => x509FromDer(pemToDer(pem)));
  if (own === undefined || root?.ca !== true || !own.checkIssued(root) || !own.verify(root.publicKey)) {
    throw new InputError(
      `[tls] certs: ${path} must hold our certificate and after it the KMS's root CA certificate, which issued it, as ` +
        "`kms issue-server-cert` writes them: guests of another KMS are refused",
    );
  }
  return hex(sha256(new Uint8Array(root.raw)));
}
