import { X509Certificate } from "node:crypto";

/**
 * The certificate that these bytes are. `new X509Certificate(der)` is not that: it looks for PEM first, anywhere in the
 * bytes, so that a certificate with another one's PEM in an extension (any with a TDX quote: the quote holds a PCK
 * chain) would be read as the other one, genuine signature and all.
 * @throws {Error} not the DER of a certificate
 */
export function x509FromDer(der: Uint8Array): X509Certificate {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  // An empty line would end the header of a PEM that has one.
  const lines = base64.match(/.{1,64}/g) ?? [];
  const pem = ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""];
  return new X509Certificate(pem.join("\n"));
}
