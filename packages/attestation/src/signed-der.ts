import type { KeyObject } from "node:crypto";
import { hex } from "@dstack/core";
import { DerReader } from "./der.js";
import { verifyDer } from "./p256.js";

/** AlgorithmIdentifier of ecdsa-with-SHA256 (RFC 5758 §3.2): no parameters. */
const ECDSA_WITH_SHA256 = "300a06082a8648ce3d040302";

/** The outer shape that certificates and revocation lists share: content, algorithm, signature. */
export interface SignedDer {
  readonly signedBytes: Uint8Array;
  readonly signature: Uint8Array;
}

/** Reads the outer shape; the content comes back as the reader to go on with. */
export function readSigned(der: Uint8Array, what: string): SignedDer & { content: DerReader } {
  const outer = new DerReader(der, what);
  const fields = outer.open("sequence");
  outer.expectEnd();
  const signedBytes = fields.element("sequence");
  readAlgorithm(fields);
  const signature = fields.wholeBytes();
  fields.expectEnd();
  return { signedBytes, signature, content: new DerReader(signedBytes, what).open("sequence") };
}

/** The algorithm stands inside the signature and outside: both must be the only one we accept, hence equal. */
export function readAlgorithm(reader: DerReader): void {
  if (hex(reader.element("sequence")) !== ECDSA_WITH_SHA256) {
    throw reader.error("it is not signed with ecdsa-with-SHA256");
  }
}

export function isSignedBy(document: SignedDer, key: KeyObject): boolean {
  return verifyDer(key, document.signedBytes, document.signature);
}

/**
 * The value of each extension by the hex of its OID. An extension may stand once, and a critical one must be among
 * those the reader understands (RFC 5280 §4.2).
 */
export function readExtensions(list: DerReader, understood: readonly string[]): Map<string, Uint8Array> {
  const values = new Map<string, Uint8Array>();
  if (list.done) throw list.error("its list of extensions is empty");
  while (!list.done) {
    const extension = list.open("sequence");
    const oid = extension.oid();
    const critical = extension.defaultFalse();
    const value = extension.content("octetString");
    extension.expectEnd();
    if (values.has(oid)) throw list.error("an extension stands twice");
    if (critical && !understood.includes(oid)) throw list.error(`critical extension ${oid} is not known`);
    values.set(oid, value);
  }
  return values;
}
