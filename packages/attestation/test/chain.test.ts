import { fromHex, hex, sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { KEY_USAGE, certificate, pem, revocationList } from "../../tdx-attest/src/simulated/certificates.js";
import type { CertificateSpec } from "../../tdx-attest/src/simulated/certificates.js";
import { bitString, sequence } from "../../tdx-attest/src/simulated/der.js";
import { SigningKey } from "../../tdx-attest/src/simulated/signing-key.js";
import { readChain } from "../src/chain.js";
import { authenticateCollateral, parseQuote, quoteCollateralKeys, verifyQuote } from "../src/index.js";
import { readPckChain } from "../src/pck-chain.js";
import { AT, replaceChain } from "./support/edit-quote.js";
import { NOW, SEED, codeOf, makeCase } from "./support/platform.js";

const keys = {
  root: SigningKey.derive(SEED, "root"),
  signer: SigningKey.derive(SEED, "signer"),
  ca: SigningKey.derive(SEED, "ca"),
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

/** A certificate whose body is changed in hex, in place, before it is signed. */
function edited(spec: CertificateSpec, change: (body: string) => string): Uint8Array {
  const [, body = ""] = /^3082.{4}(3082.*)300a06082a8648ce3d040302/.exec(hex(certificate(spec))) ?? [];
  const bytes = fromHex(change(body));
  const algorithm = fromHex("300a06082a8648ce3d040302");
  return sequence(bytes, algorithm, bitString(spec.issuerKey.signDer(bytes)));
}

/** A certificate that has an extension nobody knows where its basic constraints would be. */
const withoutConstraints = (spec: CertificateSpec): Uint8Array =>
  edited(spec, (body) =>
    body.replace(
      /0603551d130101ff04(?:02(3000)|05(30030101ff))/,
      (_, leaf?: string, ca = "") => `0603551d6304${leaf === undefined ? "08" : "05"}000000${leaf ?? ca}`,
    ),
  );

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

  it("takes a certificate without basic constraints for none of a CA", () => {
    const rootPem = pem(certificate(root));
    const leaf = pem(withoutConstraints(signer));
    expect(codeOf(() => readChain<2>(leaf + rootPem, ["tcb-signer", "root"], "chain"))).toBe("accepted");
    const bareRoot = pem(withoutConstraints(root));
    const chain = pem(certificate(signer)) + bareRoot;
    expect(codeOf(() => readChain<2>(chain, ["tcb-signer", "root"], "chain"))).toBe("chain_invalid");
  });

  it.each([
    [
      "an unknown extension where its key usage would be",
      "0603551d63" + "0407" + "00".repeat(7),
      "chain_invalid",
    ],
    [
      "a bit string of more unused bits than a byte has",
      "0603551d0f0101ff" + "0404030208c0",
      "certificate_malformed",
    ],
    ["a key usage of a second byte", "0603551d0f" + "0407" + "030507c0800000", "certificate_malformed"],
  ])("refuses a signer with %s", (_, extension, expected) => {
    const leaf = edited(signer, (body) => body.replace("0603551d0f0101ff0404030206c0", extension));
    const chain = pem(leaf) + pem(certificate(root));
    expect(codeOf(() => readChain<2>(chain, ["tcb-signer", "root"], "chain"))).toBe(expected);
  });

  it("takes a signer whose key may sign and nothing else", () => {
    expect(verdict({ keyUsage: 0x80 })).toBe("accepted");
  });

  it("names the PCK certificate chain when that is what cannot be read", () => {
    expect(() => readPckChain("")).toThrow(/PCK certificate chain/);
  });

  it("E11: refuses a serial number that is too long", () => {
    expect(verdict({ serial: new Uint8Array(21).fill(1) })).toBe("certificate_malformed");
  });

  it("counts only the CAs between an issuer and the leaf", () => {
    expect(verdict({}, { pathLength: 0 })).toBe("accepted");
  });
});

describe("E1: the names that say what a certificate is for", () => {
  const NAMES = [
    "SGX Root CA",
    "SGX PCK Platform CA",
    "SGX PCK Processor CA",
    "SGX PCK Certificate",
    "SGX TCB Signing",
    "SGX something else",
  ];
  /** A chain of a PCK, each certificate good for its place but for the name. */
  const verdictOf = (pck: string, ca: string, rootName: string): string => {
    const chain = [
      { ...signer, commonName: pck, issuerName: ca, issuerKey: keys.ca },
      { ...root, commonName: ca, issuerName: rootName, key: keys.ca },
      { ...root, commonName: rootName, issuerName: rootName },
    ];
    const text = chain.map((spec) => pem(certificate(spec))).join("");
    return codeOf(() => readChain<3>(text, ["pck", "pck-ca", "root"], "chain"));
  };

  it("takes no other name in any place of a PCK's chain", () => {
    const accepted = (of: (name: string) => string): string[] =>
      NAMES.filter((name) => of(name) === "accepted");
    expect(accepted((name) => verdictOf(name, "SGX PCK Platform CA", "SGX Root CA"))).toEqual([
      "SGX PCK Certificate",
    ]);
    expect(accepted((name) => verdictOf("SGX PCK Certificate", name, "SGX Root CA"))).toEqual([
      "SGX PCK Platform CA",
      "SGX PCK Processor CA",
    ]);
    expect(accepted((name) => verdictOf("SGX PCK Certificate", "SGX PCK Platform CA", name))).toEqual([
      "SGX Root CA",
    ]);
  });
});

describe("E1: a PCK CA whose certificate was issued again", () => {
  const name = "Simulated platform (NOT HARDWARE)";
  const good = makeCase();
  const chain = Buffer.from(good.quote.subarray(AT.chain)).toString("latin1");
  const [pck = "", , rootPem = ""] = chain.split(/(?<=-----END CERTIFICATE-----\n)/);
  const serial = new Uint8Array(20).fill(0x55);

  /** The quote with another certificate of the same CA: same name, same key. */
  function withCa(changes: Partial<CertificateSpec>): Uint8Array {
    const ca = certificate({
      ...root,
      commonName: `${name} SGX PCK Platform CA`,
      issuerName: `${name} SGX Root CA`,
      key: SigningKey.derive(SEED, "pckCa"),
      pathLength: 0,
      serial,
      ...changes,
    });
    return replaceChain(good.quote, pck + pem(ca) + rootPem);
  }
  const rootCrl = (revoked: readonly Uint8Array[]): string =>
    hex(
      revocationList({
        issuerName: `${name} SGX Root CA`,
        issuerKey: keys.root,
        number: 1,
        thisUpdate: new Date((NOW - 60) * 1000),
        nextUpdate: new Date((NOW + 60) * 1000),
        revoked,
      }),
    );
  const verify = (quote: Uint8Array, revoked: readonly Uint8Array[] = []): string =>
    codeOf(() =>
      verifyQuote({ ...good, quote, collateral: { ...good.collateral, root_ca_crl: rootCrl(revoked) } }),
    );

  it("is the same CA", () => expect(verify(withCa({}))).toBe("accepted"));

  it("is judged by its own revocation and dates", () => {
    expect(verify(withCa({}), [serial])).toBe("certificate_revoked");
    expect(verify(withCa({ notAfter: new Date("2025-01-01T00:00:00Z") }))).toBe("not_in_date");
  });

  it("must have the key that the revocation list is signed with", () => {
    const key = keys.other;
    const pckOfOther = certificate({
      ...signer,
      commonName: `${name} SGX PCK Certificate`,
      issuerName: `${name} SGX PCK Platform CA`,
      issuerKey: key,
    });
    const ca = certificate({
      ...root,
      commonName: `${name} SGX PCK Platform CA`,
      issuerName: `${name} SGX Root CA`,
      key,
    });
    expect(verify(replaceChain(good.quote, pem(pckOfOther) + pem(ca) + rootPem))).toBe("crl_invalid");
  });

  it("collateral with a revoked PCK CA is refused before there is a quote", () => {
    const { collateral, anchors } = makeCase({ platform: { revoked: ["pckCa"] } });
    expect(codeOf(() => authenticateCollateral(collateral, anchors))).toBe("certificate_revoked");
  });

  it("E10: names no collateral for a stranger's chain when roots are given", () => {
    expect(codeOf(() => quoteCollateralKeys(parseQuote(good.quote), []))).toBe("root_untrusted");
    expect(quoteCollateralKeys(parseQuote(good.quote), good.anchors)).toEqual({
      fmspc: "FF53494D0000",
      ca: "platform",
    });
    const processor = makeCase({ platform: { ca: "processor" } });
    expect(quoteCollateralKeys(parseQuote(processor.quote)).ca).toBe("processor");
  });
});
