import type { Certificate } from "./certificate.js";
import { readChain } from "./chain.js";
import { readPckPlatform } from "./pck-extension.js";
import type { PckPlatform } from "./pck-extension.js";

/** The chain of a PCK certificate: signatures, roles and names are good. Its root may be anybody's. */
export interface PckChain {
  readonly pck: Certificate;
  readonly ca: Certificate;
  readonly root: Certificate;
  /** @throws {QuoteError} `certificate_malformed` the SGX extensions cannot be read */
  readonly platform: () => PckPlatform;
}

/**
 * Its result depends on the text alone, so it may be kept under the text's digest.
 * @param pem PCK certificate, its CA, the root
 * @param knownRoot saves work, as for `readChain`
 * @throws {QuoteError} `certificate_malformed`, `chain_invalid`
 */
export function readPckChain(pem: string, knownRoot?: Certificate): PckChain {
  const [pck, ca, root] = readChain<3>(pem, ["pck", "pck-ca", "root"], "PCK certificate chain", knownRoot);
  let platform: PckPlatform | undefined;
  return { pck, ca, root, platform: () => (platform ??= readPckPlatform(pck)) };
}

/** Which of Intel's two intermediate CAs this is; {@link readPckChain} has made sure that it is one of them. */
export function pckCaKind(ca: Certificate): "platform" | "processor" {
  return ca.commonName.includes("Platform CA") ? "platform" : "processor";
}
