import { sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { KEY_USAGE, certificate, pem } from "../../tdx-attest/src/simulated/certificates.js";
import type { CertificateSpec } from "../../tdx-attest/src/simulated/certificates.js";
import { SigningKey } from "../../tdx-attest/src/simulated/signing-key.js";
import { readChain } from "../src/chain.js";
import { SEED, codeOf } from "./support/platform.js";

const keys = {
  root: SigningKey.derive(SEED, "root"),
  signer: SigningKey.derive(SEED, "signer"),
  other: SigningKey.derive(SEED, "other"),
};
const common = {
  serial: sha256("serial")
    .map((byte, i) => (i === 0 ? 0x40 : byte))
    .subarray(0, 20),
  notBefore: new Date("2020-01-01T00:00:00Z"),
  notAfter: new Date("2049-01-01T00:00:00Z"),
  issuerName: "SGX Root CA",
  issuerKey: keys.root,
  crlUrl: "https://example.invalid/",
};
const root: CertificateSpec = {
  ...common,
  commonName: "SGX Root CA",
  key: keys.root,
  ca: true,
  keyUsage: KEY_USAGE.issuing,
};
const signer: CertificateSpec = {
  ...common,
  commonName: "SGX TCB Signing",
  key: keys.signer,
  ca: false,
  keyUsage: KEY_USAGE.signing,
};

function verdict(changes: Partial<CertificateSpec>, rootChanges: Partial<CertificateSpec> = {}): string {
  const text = pem(certificate({ ...signer, ...changes })) + pem(certificate({ ...root, ...rootChanges }));
  return codeOf(() => readChain<2>(text, ["tcb-signer", "root"], "chain"));
}

describe("E1: certificate chains", () => {
  it("takes a leaf that its root issued", () => expect(verdict({})).toBe("accepted"));

  it("refuses a right signature under another issuer's name", () => {
    expect(verdict({ issuerName: "SGX Root CA 2" })).toBe("chain_invalid");
  });

  it("refuses a signature of another key under the right name", () => {
    expect(verdict({ issuerKey: keys.other })).toBe("chain_invalid");
  });

  it("refuses a root that did not issue itself", () => {
    expect(verdict({}, { issuerKey: keys.other })).toBe("chain_invalid");
    expect(verdict({}, { issuerName: "SGX Root CA 2" })).toBe("chain_invalid");
  });

  it("refuses a certificate of another role in each place", () => {
    expect(verdict({ commonName: "SGX PCK Certificate" })).toBe("chain_invalid");
    const renamed = { commonName: "SGX PCK Platform CA", issuerName: "SGX PCK Platform CA" };
    expect(verdict({ issuerName: "SGX PCK Platform CA" }, renamed)).toBe("chain_invalid");
  });

  it("E11: refuses a serial number that is too long", () => {
    expect(verdict({ serial: new Uint8Array(21).fill(1) })).toBe("certificate_malformed");
  });

  it("counts only the CAs between an issuer and the leaf", () => {
    expect(verdict({}, { pathLength: 0 })).toBe("accepted");
  });
});
