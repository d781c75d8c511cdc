import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@dstack/core";

/** A certificate with its key, ready to be served. */
export interface ServedCertificate {
  /** PEM, leaf first. */
  readonly chainPem: string;
  readonly keyPem: string;
  readonly notAfter: Date;
}

/** What certbot keeps at `live`, if it can be served for all domains now. */
export async function readLiveCertificate(
  stateDir: string,
  domains: readonly string[],
  now: number,
): Promise<ServedCertificate | undefined> {
  const read = (name: string): Promise<string> => readFile(join(stateDir, "live", name), "utf8");
  try {
    const [chainPem, keyPem] = [await read("cert.pem"), await read("key.pem")];
    const leaf = new X509Certificate(chainPem);
    const notAfter = new Date(leaf.validTo);
    const serves =
      leaf.checkPrivateKey(createPrivateKey(keyPem)) &&
      domains.every((domain) => leaf.checkHost(domain.replace(/^\*/, "any")) !== undefined) &&
      notAfter.getTime() > now;
    return serves ? { chainPem, keyPem, notAfter } : undefined;
  } catch (err) {
    // Files that are not there, or that hold no certificate: certbot sees to both.
    const code = errorCode(err) ?? "";
    if (code === "ENOENT" || code.startsWith("ERR_OSSL")) return undefined;
    throw err;
  }
}
