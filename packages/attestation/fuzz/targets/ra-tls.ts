import { InputError, concatBytes, x509FromDer } from "@dstack/core";
import {
  bitString,
  boolean,
  explicit,
  integer,
  octetString,
  oid,
  sequence,
  time,
} from "../../../tdx-attest/src/simulated/der.js";
import { evaluateForm } from "../../../ra-tls/src/certificate-form.js";
import { readCertificateDer } from "../../../ra-tls/src/certificate-der.js";
import { OID_EVENT_LOG, OID_QUOTE } from "../../../ra-tls/src/oids.js";
import { readEvidence } from "../../../ra-tls/src/read-evidence.js";
import { SigningKey } from "../../../tdx-attest/src/simulated/signing-key.js";
import { NOW, SEED, logOf, makeCase } from "../../test/support/platform.js";
import { fromHex, require, sameBytes, utf8 } from "../target.js";
import type { Target } from "../target.js";

/** A certificate with a key and these extensions; its signature is none, since nothing depends on it. */
function certificateWith(extensions: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const algorithm = sequence(oid("1.2.840.10045.4.3.2"));
  const name = sequence();
  const fields = concatBytes(
    explicit(0, integer(2)),
    integer(1),
    algorithm,
    name,
    sequence(time(new Date((NOW - 60) * 1000)), time(new Date((NOW + 60) * 1000))),
    name,
    SigningKey.derive(SEED, "guest").spki,
    explicit(3, sequence(...extensions.map(([id, value]) => sequence(oid(id), octetString(value))))),
  );
  return sequence(sequence(fields), algorithm, bitString(new Uint8Array(64)));
}

export const raTlsCertificate: Target = {
  name: "ra-tls-certificate",
  seeds: () => [
    certificateWith([
      [OID_QUOTE, octetString(makeCase().quote)],
      [OID_EVENT_LOG, octetString(utf8(JSON.stringify(logOf())))],
    ]),
    certificateWith([
      [OID_QUOTE, octetString(Uint8Array.of(1))],
      [OID_EVENT_LOG, octetString(utf8("[]"))],
      ["1.3.6.1.4.1.62397.1.3", octetString(new Uint8Array(20))],
    ]),
  ],
  words: [
    oid(OID_QUOTE),
    oid(OID_EVENT_LOG),
    oid("2.5.29.19"),
    boolean(true),
    octetString(new Uint8Array()),
    ...["30", "04", "06", "a3", "80", "8180", "820100", "84ffffffff"].map(fromHex),
  ],
  maxBytes: 70 * 1024,
  refusals: [InputError],
  read: (input) => {
    const parts = readCertificateDer(input);
    evaluateForm(parts, NOW);
    const evidence = readEvidence(input);
    if (evidence !== undefined)
      require(evidence.quote.length < input.length, "a quote is longer than what holds it");
    // Who verifies hashes these bytes; TLS used OpenSSL's key. They must be the same key.
    const key = opensslKey(input);
    if (key !== undefined && key.length === parts.spki.length) {
      require(sameBytes(key, parts.spki), "another key than OpenSSL");
    }
  },
};

function opensslKey(input: Uint8Array): Uint8Array | undefined {
  try {
    return x509FromDer(input).publicKey.export({ type: "spki", format: "der" });
  } catch {
    return undefined;
  }
}
