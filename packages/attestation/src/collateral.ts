import { fromHex, sameBytes, utf8 } from "@dstack/core";
import { z } from "zod";
import { findAnchor } from "./anchors.js";
import type { TrustAnchor } from "./anchors.js";
import type { Certificate } from "./certificate.js";
import { readChain } from "./chain.js";
import { readCrl, requireNotRevoked } from "./crl.js";
import type { Crl } from "./crl.js";
import { QuoteError } from "./errors.js";
import { verifyRaw } from "./p256.js";
import type { Period } from "./period.js";
import { MAX_DOCUMENT_CHARS, readQeIdentity, readTcbInfo } from "./tcb-documents.js";
import type { QeIdentity, TcbInfo } from "./tcb-documents.js";
import type { Watch } from "./watch.js";

/**
 * What Intel publishes to judge a quote by, as it came: the collateral format of Intel's quote verification library.
 * Chains are PEM, leaf first; CRLs and signatures are lower-case hex (of DER, and of r ‖ s); `tcb_info` and
 * `qe_identity` are the exact JSON text that was signed.
 */
export const CollateralSchema = z.object({
  pck_crl_issuer_chain: z.string(),
  root_ca_crl: z.string(),
  pck_crl: z.string(),
  tcb_info_issuer_chain: z.string(),
  tcb_info: z.string(),
  tcb_info_signature: z.string(),
  qe_identity_issuer_chain: z.string(),
  qe_identity: z.string(),
  qe_identity_signature: z.string(),
});
export type Collateral = Readonly<z.infer<typeof CollateralSchema>>;

declare const authentic: unique symbol;

/** Collateral whose chains, lists and signatures are good. Whether it is in date depends on when it is used. */
export interface AuthenticCollateral {
  readonly [authentic]: true;
  readonly anchor: TrustAnchor;
  readonly root: Certificate;
  /** The CA whose list of revoked PCK certificates this is. */
  readonly pckCa: Certificate;
  readonly rootCrl: Crl;
  readonly pckCrl: Crl;
  readonly tcbInfo: TcbInfo;
  readonly qeIdentity: QeIdentity;
  /** When each of its parts may be used: all must hold at the time of verification. */
  readonly periods: readonly Period[];
}

/**
 * Verifies everything about collateral that does not depend on the time or the quote: three chains to one trusted
 * root, both revocation lists, both signed documents. The result may be kept and used for many quotes.
 * @throws {QuoteError}
 */
export function authenticateCollateral(
  collateral: Collateral,
  anchors: readonly TrustAnchor[],
  watch?: Watch,
): AuthenticCollateral {
  watch?.("trusted root");
  const [pckCa, root] = readChain<2>(
    collateral.pck_crl_issuer_chain,
    ["pck-ca", "root"],
    "PCK CRL issuer chain",
  );
  const anchor = findAnchor(root.der, anchors);
  watch?.("root CRL");
  const rootCrl = readCrl(collateral.root_ca_crl, root, "root CRL");
  watch?.("PCK CRL");
  const pckCrl = readCrl(collateral.pck_crl, pckCa, "PCK CRL");
  requireNotRevoked(pckCa, rootCrl, "PCK CA");
  watch?.("TCB signing certificates");
  const signer = (chain: string, what: string): Certificate => {
    const [certificate, itsRoot] = readChain<2>(chain, ["tcb-signer", "root"], what, root);
    requireSameRoot(itsRoot, root, what);
    requireNotRevoked(certificate, rootCrl, "TCB signing");
    return certificate;
  };
  const { tcb_info_issuer_chain: tcbChain, qe_identity_issuer_chain: qeChain } = collateral;
  const tcbSigner = signer(tcbChain, "TCB info issuer chain");
  // Intel signs both with one certificate: the same text need not be verified twice.
  const qeSigner = qeChain === tcbChain ? tcbSigner : signer(qeChain, "QE identity issuer chain");
  watch?.("TCB info and QE identity");
  requireSigned(collateral.tcb_info, collateral.tcb_info_signature, tcbSigner, "TCB info");
  requireSigned(collateral.qe_identity, collateral.qe_identity_signature, qeSigner, "QE identity");
  const tcbInfo = readTcbInfo(collateral.tcb_info);
  const qeIdentity = readQeIdentity(collateral.qe_identity);
  const periods = [
    certificatePeriod(root, "root certificate"),
    certificatePeriod(pckCa, "PCK CA certificate"),
    certificatePeriod(tcbSigner, "TCB signing certificate"),
    certificatePeriod(qeSigner, "TCB signing certificate"),
    { what: "root CRL", from: rootCrl.thisUpdate, to: rootCrl.nextUpdate },
    { what: "PCK CRL", from: pckCrl.thisUpdate, to: pckCrl.nextUpdate },
    { what: "TCB info", from: tcbInfo.issueDate, to: tcbInfo.nextUpdate },
    { what: "QE identity", from: qeIdentity.issueDate, to: qeIdentity.nextUpdate },
  ];
  const parts = { anchor, root, pckCa, rootCrl, pckCrl, tcbInfo, qeIdentity, periods };
  return parts as unknown as AuthenticCollateral;
}

/** @throws {QuoteError} `root_untrusted` */
export function requireSameRoot(root: Certificate, trusted: Certificate, what: string): void {
  if (!sameBytes(root.der, trusted.der)) {
    throw new QuoteError("root_untrusted", `the ${what} ends at another root than the collateral's`);
  }
}

export function certificatePeriod({ notBefore, notAfter }: Certificate, what: string): Period {
  return { what, from: notBefore, to: notAfter };
}

function requireSigned(text: string, signature: string, signer: Certificate, what: string): void {
  if (text.length > MAX_DOCUMENT_CHARS) {
    throw new QuoteError("collateral_malformed", `${what} is longer than ${MAX_DOCUMENT_CHARS} characters`);
  }
  if (!/^[0-9a-f]{128}$/.test(signature)) {
    throw new QuoteError("collateral_malformed", `the signature of the ${what} is not 64 bytes of hex`);
  }
  if (!verifyRaw(signer.publicKey, utf8(text), fromHex(signature))) {
    throw new QuoteError("signature_invalid", `the ${what} is not signed by its signer`);
  }
}
