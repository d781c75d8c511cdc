/** Certificates and revocation lists (RFC 5280) in the shape Intel's have. */
import { createHash } from "node:crypto";
import { concatBytes } from "@dstack/core";
import {
  bitString,
  boolean,
  enumerated,
  explicit,
  der,
  integer,
  octetString,
  oid,
  printableString,
  sequence,
  set,
  time,
  utf8String,
} from "./der.js";
import type { SigningKey } from "./signing-key.js";
import { utf8 } from "@dstack/core";

const ECDSA_WITH_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));

/** Bits of the key usage extension (RFC 5280 §4.2.1.3), as its single content byte. */
export const KEY_USAGE = { signing: 0xc0, issuing: 0x06 } as const;

/** A distinguished name in Intel's form; only the common name tells two of ours apart. */
export function distinguishedName(commonName: string): Uint8Array {
  const attribute = (type: string, value: Uint8Array): Uint8Array => set(sequence(oid(type), value));
  return sequence(
    attribute("2.5.4.3", utf8String(commonName)),
    attribute("2.5.4.10", utf8String("Simulated platform (NOT HARDWARE)")),
    attribute("2.5.4.7", utf8String("Nowhere")),
    attribute("2.5.4.8", utf8String("NA")),
    attribute("2.5.4.6", printableString("ZZ")),
  );
}

function keyIdentifier(key: SigningKey): Uint8Array {
  return new Uint8Array(createHash("sha1").update(key.point).digest());
}

/** One X.509 extension. */
export function extension(id: string, value: Uint8Array, critical = false): Uint8Array {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

const authorityKeyId = (issuerKey: SigningKey): Uint8Array =>
  extension("2.5.29.35", sequence(der(0x80, keyIdentifier(issuerKey))));

function crlDistributionPoint(url: string): Uint8Array {
  return extension("2.5.29.31", sequence(sequence(explicit(0, explicit(0, der(0x86, utf8(url)))))));
}

/** What goes into one certificate. */
export interface CertificateSpec {
  readonly commonName: string;
  readonly issuerName: string;
  readonly key: SigningKey;
  readonly issuerKey: SigningKey;
  /** Big-endian, positive. */
  readonly serial: Uint8Array;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly ca: boolean;
  readonly pathLength?: number | undefined;
  /** The key usage byte, see {@link KEY_USAGE}. */
  readonly keyUsage: number;
  /** Encoded extensions put after the standard ones. */
  readonly extensions?: readonly Uint8Array[] | undefined;
  readonly crlUrl: string;
}

/** A signed certificate, DER. */
export function certificate(spec: CertificateSpec): Uint8Array {
  const usageUnusedBits = spec.keyUsage === 0 ? 0 : Math.log2(spec.keyUsage & -spec.keyUsage);
  const basic = [
    ...(spec.ca ? [boolean(true)] : []),
    ...(spec.pathLength === undefined ? [] : [integer(spec.pathLength)]),
  ];
  const body = sequence(
    explicit(0, integer(2)),
    integer(spec.serial),
    ECDSA_WITH_SHA256,
    distinguishedName(spec.issuerName),
    sequence(time(spec.notBefore), time(spec.notAfter)),
    distinguishedName(spec.commonName),
    spec.key.spki,
    explicit(
      3,
      sequence(
        authorityKeyId(spec.issuerKey),
        crlDistributionPoint(spec.crlUrl),
        extension("2.5.29.14", octetString(keyIdentifier(spec.key))),
        extension("2.5.29.15", bitString(Uint8Array.of(spec.keyUsage), usageUnusedBits), true),
        extension("2.5.29.19", sequence(...basic), true),
        ...(spec.extensions ?? []),
      ),
    ),
  );
  return signed(body, spec.issuerKey);
}

/** What goes into one revocation list. */
export interface CrlSpec {
  readonly issuerName: string;
  readonly issuerKey: SigningKey;
  readonly number: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Serial numbers, big-endian. */
  readonly revoked: readonly Uint8Array[];
}

/** A signed revocation list, DER. */
export function revocationList(spec: CrlSpec): Uint8Array {
  const keyCompromise = sequence(extension("2.5.29.21", enumerated(1)));
  const entries = spec.revoked.map((serial) =>
    sequence(integer(serial), time(spec.thisUpdate), keyCompromise),
  );
  const body = sequence(
    integer(1),
    ECDSA_WITH_SHA256,
    distinguishedName(spec.issuerName),
    time(spec.thisUpdate),
    time(spec.nextUpdate),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    explicit(0, sequence(extension("2.5.29.20", integer(spec.number)), authorityKeyId(spec.issuerKey))),
  );
  return signed(body, spec.issuerKey);
}

function signed(body: Uint8Array, key: SigningKey): Uint8Array {
  return sequence(body, ECDSA_WITH_SHA256, bitString(key.signDer(body)));
}

/** PEM with 64 characters a line and a newline at the end. */
export function pem(derBytes: Uint8Array): string {
  const lines =
    Buffer.from(concatBytes(derBytes))
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
